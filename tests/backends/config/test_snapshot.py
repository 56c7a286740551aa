"""Permissions are decided from plain values."""

from __future__ import annotations

import time
from types import SimpleNamespace

from webapp.backends.config.snapshot import BackendRow, ModelRow, RouteRow, Snapshot, StepRow


def test_thousands_of_models_behind_a_restricted_route_are_listed_in_no_time() -> None:
    """OpenRouter lists hundreds, and a page asks for the list of what its reader may use."""
    names = [f"vendor/model-{number}" for number in range(2000)]
    backend = BackendRow(
        id=1,
        name="many",
        preset="custom",
        base_url="http://localhost:1/v1",
        key="",
        headers={},
        timeouts=(5, 60, 60),
        max_concurrency=None,
        prices=None,
        model_prices=(),
        capabilities={},
        unusable="",
        models={name: ModelRow(name, None, {}, None) for name in names},
    )
    closed = RouteRow("closed", allowed=frozenset(), steps=tuple(StepRow(1, name) for name in names[-20:]))
    began = time.monotonic()
    listed = [model.name for _, model in Snapshot(1, {1: backend}, {"closed": closed}).direct(SimpleNamespace(pk=7, is_superuser=False))]
    assert listed == names[:-20]
    assert time.monotonic() - began < 1
