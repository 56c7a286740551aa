"""Rates, and the address that browsers report to."""

from __future__ import annotations

import logging

import httpx2
import pytest
from django.test import Client

from tests.live import Live
from webapp.server import views
from webapp.server.body_limits import Rate


def test_a_rate_lets_so_many_through_a_minute_and_recovers() -> None:
    now = [0.0]
    rate = Rate(6, clock=lambda: now[0])
    assert [rate.take() for _ in range(8)] == [True] * 6 + [False] * 2
    now[0] = 10
    assert [rate.take(), rate.take()] == [True, False]
    now[0] = 3600
    assert sum(rate.take() for _ in range(100)) == 6


def test_nobody_fills_the_log_with_reports(client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(views, "csp_reports", Rate(3))
    caplog.set_level(logging.WARNING, "patchbay.csp")
    answers = [client.post("/csp-report/", b"x" * 10_000, content_type="application/csp-report").status_code for _ in range(5)]
    assert answers == [204, 204, 204, 429, 429]
    assert len(caplog.records) == 3
    assert all(len(record.getMessage()) < 2100 for record in caplog.records)


def test_a_report_of_a_megabyte_is_not_read(live: Live) -> None:
    assert "64 KB" in httpx2.post(f"{live.url}/csp-report/", content=b"x" * 2**20).json()["error"]["message"]
