"""Usage as columns: grouping, percentiles, and the stored form."""

from __future__ import annotations

import math
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from webapp.backends.reporting import usage_table
from webapp.backends.reporting.usage_table import COUNTS, DIMENSIONS, UsageTable

DAY = datetime(2026, 11, 1, tzinfo=UTC)


def attempts(count: int, seed: int = 1) -> list[dict[str, Any]]:
    pick = random.Random(seed)
    return [
        {
            "start": DAY + timedelta(hours=pick.randrange(3)),
            "backend": pick.choice("ab"),
            "model": pick.choice("mno"),
            "route": "r",
            "source": "chat",
            "user": pick.choice([1, 2, None]),
            "outcome": pick.choice(["ok", "ok", "failed", "partial"]),
            "error": pick.choice(["TimedOut", "Unreachable"]),
            "first_token_ms": pick.choice([None, pick.expovariate(1 / 400)]),
            "prompt_tokens": pick.randrange(2**31),
            "completion_tokens": pick.randrange(100),
            "estimated": pick.random() < 0.3,
            "cost": pick.choice([None, Decimal(pick.randrange(10**9)).scaleb(-8)]),
        }
        for _ in range(count)
    ]


def table_of(rows: list[dict[str, Any]]) -> UsageTable:
    dimensions = [[row[name] for row in rows] for name in DIMENSIONS]
    names = ("outcome", "error", "first_token_ms", "prompt_tokens", "completion_tokens", "estimated", "cost")
    return usage_table.from_attempts(dimensions, [[row[name] for row in rows] for name in names], [True] * len(rows))


def sums_of(rows: list[dict[str, Any]]) -> list[int]:
    """The same sums by plain Python."""
    guesses = sum(row["prompt_tokens"] + row["completion_tokens"] for row in rows if row["estimated"])
    priced = [row["cost"] for row in rows if row["cost"] is not None]
    failed = sum(row["outcome"] == "failed" for row in rows)
    prompts, completions = (sum(row[name] for row in rows) for name in ("prompt_tokens", "completion_tokens"))
    return [len(rows), len(rows), failed, prompts, completions, guesses, int(sum(priced, Decimal(0)) * 10**8), len(priced)]


@pytest.mark.parametrize("dimensions", [(), ("backend",), ("start", "model"), ("user", "backend"), DIMENSIONS])
def test_groups_have_the_sums_of_their_attempts(dimensions: tuple[str, ...]) -> None:
    rows = attempts(500)
    table = table_of(rows).group(dimensions)
    wanted: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        wanted.setdefault(tuple(row[name] for name in dimensions), []).append(row)
    labels = list(zip(*(table.labels(name) for name in dimensions), strict=True)) or [()]
    assert dict(zip(labels, table.counts.tolist(), strict=True)) == {label: sums_of(found) for label, found in wanted.items()}
    for place, label in enumerate(labels):
        errors = {table.error_names[error]: count for row, error, count in table.errors.tolist() if row == place}
        assert errors == Counter(row["error"] for row in wanted[label] if row["outcome"] == "failed")


@pytest.mark.parametrize("part", [0.0, 0.5, 0.95, 0.99, 1.0])
def test_percentiles_are_those_of_the_answers_within_the_width_of_a_bin(part: float) -> None:
    rows = attempts(400)
    table = table_of(rows).group(("model",))
    for model, found in zip(table.labels("model"), table.percentiles(part), strict=True):
        times = sorted(
            r["first_token_ms"] for r in rows if r["model"] == model and r["outcome"] != "failed" and r["first_token_ms"] is not None
        )
        right = times[min(int(part * len(times)), len(times) - 1)]
        assert found == pytest.approx(max(right, 1.0), rel=0.026)


def test_a_group_without_answers_has_no_percentile() -> None:
    rows = [row | {"first_token_ms": None} for row in attempts(3)]
    assert table_of(rows).group(()).percentiles(0.5) == [None]
    assert table_of([]).group(()).percentiles(0.5) == []


def test_the_stored_form_gives_the_same_table_again() -> None:
    table = table_of(attempts(300)).group(DIMENSIONS)
    *counts, units, priced = (table.column(name).tolist() for name in COUNTS)
    costs = [usage_table.cost_of(*pair) for pair in zip(units, priced, strict=True)]
    columns = [*(table.labels(name) for name in DIMENSIONS), *counts, costs, table.stored_histograms(), table.stored_errors()]
    again = usage_table.from_sums(list(zip(*columns, strict=True)))
    for one, other in ((table.group(("backend",)), again.group(("backend",))), (table.group(()), again.group(()))):
        assert one.counts[:, :-1].tolist() == other.counts[:, :-1].tolist()
        assert one.bins.tolist() == other.bins.tolist()
        assert one.stored_errors() == other.stored_errors()


def test_tables_with_other_values_are_joined() -> None:
    first, second = attempts(50, seed=2), [row | {"backend": "c", "error": "Refused"} for row in attempts(50, seed=3)]
    joined = usage_table.concatenate([table_of(first), table_of([]), table_of(second)]).group(("backend",))
    whole = table_of(first + second).group(("backend",))
    assert dict(zip(joined.labels("backend"), joined.counts.tolist(), strict=True)) == dict(
        zip(whole.labels("backend"), whole.counts.tolist(), strict=True)
    )
    assert sorted(joined.stored_errors()) == sorted(whole.stored_errors())


def test_rows_are_selected_with_their_histograms_and_errors() -> None:
    rows = attempts(60)
    chosen = [place for place, row in enumerate(rows) if row["backend"] == "a"]
    some, right = table_of(rows).select(chosen).group(("model",)), table_of([rows[place] for place in chosen]).group(("model",))
    assert sorted(some.counts.tolist()) == sorted(right.counts.tolist())
    assert some.bins[:, 2].sum() == right.bins[:, 2].sum()
    assert some.errors[:, 2].sum() == right.errors[:, 2].sum()


def test_sums_of_many_large_groups_are_the_same_on_the_sparse_path(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(attempts(500))
    dense = table.group(("start", "user"))
    monkeypatch.setattr(usage_table, "MAX_DENSE", 0)
    assert table.group(("start", "user")).bins.tolist() == dense.bins.tolist()


def test_extreme_times_have_bins() -> None:
    rows = [row | {"outcome": "ok", "first_token_ms": ms} for row, ms in zip(attempts(3), (0.0, 1e30, math.inf), strict=True)]
    assert table_of(rows).group(()).bins[:, 1].max() < usage_table.BINS
