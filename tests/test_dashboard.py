"""The Grafana dashboard in deploy/: its queries are PromQL over metrics and labels that `/metrics` has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from webapp.backends.runtime import registry
from webapp.core import metrics
from webapp.patterns.types import Attempt, Usage

DASHBOARD = json.loads((Path(__file__).parent.parent / "deploy" / "grafana-dashboard.json").read_text())
VALUES = {"$__rate_interval": "5m", "$backend": ".*", "$model": ".*"}
SCRAPED = {"instance", "job", "le"}
"""The labels that Prometheus or a histogram adds."""


def queries() -> list[tuple[str, str]]:
    panels = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
    variables = [one["query"]["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    found = [re.fullmatch(r"label_values\((.*), (\w+)\)", query) for query in variables]
    return [*panels, *(("variable", f"sum by ({match[2]}) ({match[1]})") for match in found if match)]


def parsed(query: str) -> Any:
    for name, value in VALUES.items():
        query = query.replace(name, value)
    return promql_parser.parse(query)


def selectors(node: Any) -> Iterator[Any]:
    """All vector selectors below a node of the syntax tree."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
        return
    if isinstance(node, promql_parser.MatrixSelector):
        yield node.vector_selector
        return
    children = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "args")]
    for child in children:
        for one in child if isinstance(child, list) else [child]:
            if one is not None:
                yield from selectors(one)


@pytest.fixture(scope="module")
def metric_labels() -> dict[str, set[str]]:
    """The labels of each metric of `/metrics`, after one attempt."""
    metrics.observe(Attempt("b", "m", outcome="ok", first_token_ms=5, usage=Usage(1, 1)), source="chat")
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


@pytest.mark.parametrize(("title", "query"), queries())
def test_each_query_is_valid_and_names_metrics_and_labels_that_exist(
    title: str, query: str, metric_labels: dict[str, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = metric_labels | {"patchbay_backend_up": {"backend"}}
    found = list(selectors(parsed(query)))
    assert found, title
    for selector in found:
        assert selector.name in known
        assert {matcher.name for matcher in selector.matchers.matchers} <= known[selector.name] | SCRAPED
    grouped = {label.strip() for labels in re.findall(r"by \(([^)]+)\)", query) for label in labels.split(",")}
    assert grouped <= {label for selector in found for label in known[selector.name]} | SCRAPED


def test_every_panel_has_a_place_and_a_data_source() -> None:
    places = [tuple(panel["gridPos"][key] for key in "xywh") for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places) >= 10
    assert all(target["datasource"]["uid"] == "${datasource}" for panel in DASHBOARD["panels"] for target in panel["targets"])


def test_the_health_of_backends_is_exposed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Known:
        def states(self) -> dict[str, str]:
            return {"a": "up", "b": "down", "c": "unknown"}

    monkeypatch.setattr(registry, "registries", lambda: [Known()])
    lines = [line for line in metrics.exposition().decode().splitlines() if line.startswith("patchbay_backend_up{")]
    assert lines == ['patchbay_backend_up{backend="a"} 1.0', 'patchbay_backend_up{backend="b"} 0.0']
