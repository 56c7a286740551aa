"""Prometheus text at /metrics."""

from __future__ import annotations

import pytest
from django.conf import LazySettings
from django.test import Client

from webapp.core import metrics
from webapp.patterns.types import Attempt, Usage


@pytest.mark.django_db
def test_the_address_does_not_exist_without_a_token(client: Client, settings: LazySettings) -> None:
    settings.METRICS_TOKEN = ""
    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


@pytest.mark.django_db
def test_it_counts_attempts_tokens_and_first_tokens(client: Client, settings: LazySettings) -> None:
    settings.METRICS_TOKEN = "scraper"
    metrics.register(lambda: [("patchbay_open_sockets", "Sockets.", {"kind": "chat"}, 3)])
    metrics.observe(Attempt("vllm", "llama", outcome="ok", first_token_ms=120, usage=Usage(7, 5)), source="chat")
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 404
    text = client.get("/metrics", headers={"Authorization": "Bearer scraper"}).content.decode()
    assert 'patchbay_attempts_total{backend="vllm",model="llama",outcome="ok",source="chat"} 1.0' in text
    assert 'patchbay_tokens_total{backend="vllm",kind="completion",model="llama",source="chat"} 5.0' in text
    assert 'patchbay_first_token_seconds_bucket{backend="vllm",le="0.25",model="llama"} 1.0' in text
    assert 'patchbay_open_sockets{kind="chat"} 3.0' in text


def test_made_up_models_count_as_one_beyond_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_MODELS", 3)
    metrics._meters.cache_clear()
    for number in range(10):
        metrics.observe(Attempt("vllm", f"made-up-{number}", outcome="failed"), source="gateway")
    text = metrics.exposition().decode()
    metrics._meters.cache_clear()
    assert text.count("patchbay_attempts_total{") == 4
    assert 'patchbay_attempts_total{backend="vllm",model="other",outcome="failed",source="gateway"} 7.0' in text
