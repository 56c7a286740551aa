"""The filters and tags that many pages share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.template import Context, Template
from django.utils import timezone

from webapp.templatetags import ui


@pytest.mark.parametrize(("number", "text"), [(1, "1 token"), (0, "0 tokens"), (12_345, "12\u2009345 tokens")])
def test_a_count_agrees_with_its_noun(number: int, text: str) -> None:
    assert ui.count(number, "token") == text


@pytest.mark.parametrize(("ms", "text"), [(None, "–"), (0.72, "0.7 ms"), (840, "840 ms"), (4200, "4.2 s"), (185_000, "3 min 5 s")])
def test_milliseconds_are_written_in_a_fitting_unit(ms: float | None, text: str) -> None:
    assert ui.milliseconds(ms) == text


@pytest.mark.parametrize(("outcome", "badge"), [("ok", "ok"), ("failed", "bad"), ("skipped", "warn"), ("partial", "warn")])
def test_an_outcome_has_a_badge(outcome: str, badge: str) -> None:
    assert ui.outcome_badge(outcome) == badge


def test_dates_have_one_form_in_pages_and_in_the_admin() -> None:
    when = datetime(2026, 12, 1, 14, 5, tzinfo=UTC)
    page = Template('{{ when }}|{{ when|date:"DATETIME_FORMAT" }}|{{ when|date:"DATE_FORMAT" }}').render(Context({"when": when}))
    assert page == "Dec 1, 2026 14:05|Dec 1, 2026 14:05|Dec 1, 2026"


def test_a_past_time_is_told_in_its_largest_unit() -> None:
    now = timezone.now()
    assert [ui.ago(now), ui.ago(now - timedelta(minutes=3)).replace("\xa0", " ")] == ["just now", "3 minutes ago"]


@pytest.mark.parametrize(
    ("status", "badge"), [("Succeeded", "ok"), ("expired", "bad"), ("cancelling", "warn"), ("Pending", ""), ("in_progress", "run")]
)
def test_a_status_has_a_badge(status: str, badge: str) -> None:
    assert ui.status_badge(status) == badge
