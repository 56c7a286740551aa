"""The list of attempts: paged by position, without counting, and with a bounded search."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from tests.users import Users
from webapp.backends.admin import keyset
from webapp.backends.models import Attempt
from webapp.backends.reporting import usage_sums

LIST = "/admin/backends/attempt/"
NOW = datetime.now(UTC).replace(minute=0) - timedelta(days=1)


def make(count: int, **columns: Any) -> list[Attempt]:
    """Attempts of which every two have the same time, the newest first."""
    rows = [
        Attempt(
            request_id=uuid.uuid4(),
            created_at=NOW - timedelta(minutes=n // 2),
            source="chat",
            backend="up",
            model="m",
            outcome="ok",
            **columns,
        )
        for n in range(count)
    ]
    return Attempt.objects.bulk_create(rows)


def numbers(page: str) -> list[int]:
    return [int(found) for found in re.findall(r"/admin/backends/attempt/(\d+)/change/", page)]


def link(page: str, rel: str) -> str | None:
    found = re.search(rf'href="([^"]+)" rel="{rel}"', page)
    return LIST + found[1].replace("&amp;", "&") if found else None


def test_pages_forward_and_back_have_every_attempt_once(as_administrator: Client) -> None:
    make(130)
    order = list(Attempt.objects.values_list("pk", flat=True))
    seen: list[list[int]] = []
    address: str | None = LIST
    while address:
        page = as_administrator.get(address).content.decode()
        seen.append(numbers(page))
        last, address = page, link(page, "next")
    assert [one for page_ in seen for one in page_] == order
    assert [len(page_) for page_ in seen] == [50, 50, 30]
    back = as_administrator.get(link(last, "prev") or "").content.decode()
    assert numbers(back) == seen[1]
    first = as_administrator.get(link(back, "prev") or "").content.decode()
    assert numbers(first) == seen[0]
    assert link(first, "prev") is None


def test_a_filter_stays_while_paging_and_a_new_one_starts_at_the_first_page(as_administrator: Client) -> None:
    make(60)
    make(60, error="TimedOut")
    second = link(as_administrator.get(f"{LIST}?error=TimedOut").content.decode(), "next")
    assert second
    assert "error=TimedOut" in second
    page = as_administrator.get(second).content.decode()
    assert len(numbers(page)) == 10
    assert set(Attempt.objects.filter(pk__in=numbers(page)).values_list("error", flat=True)) == {"TimedOut"}
    others = re.findall(r'href="(\?[^"]*outcome=[^"]*)"', page)
    assert others
    assert not any("before=" in href for href in others)


def test_a_search_says_how_far_it_looked_and_goes_on_from_there(as_administrator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    make(100)
    wanted = Attempt.objects.order_by("created_at", "id").first()
    assert wanted
    Attempt.objects.filter(pk=wanted.pk).update(why="the needle")
    monkeypatch.setattr(keyset, "SCANNED", 40)
    page = as_administrator.get(f"{LIST}?q=needle").content.decode()
    for _ in range(2):
        assert numbers(page) == []
        further = re.search(r'data-testid="searched-to".*?href="([^"]+)"', page, re.DOTALL)
        assert further
        page = as_administrator.get(LIST + further[1].replace("&amp;", "&")).content.decode()
    assert numbers(page) == [wanted.pk]
    assert "searched-to" not in page


def test_a_request_id_finds_its_attempts_however_old(as_administrator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    make(20)
    oldest = Attempt.objects.order_by("created_at").first()
    assert oldest
    assert numbers(as_administrator.get(f"{LIST}?q={oldest.request_id}").content.decode()) == [oldest.pk]


@pytest.mark.parametrize(
    "place", ["before=x", "before=2026-11-20_1", "after=2026-11-20T12:00:00Z_-5", "before=&after=", "before=_", "p=99999"]
)
def test_a_place_that_does_not_exist_is_the_first_page(as_administrator: Client, users: Users, place: str) -> None:
    make(3)
    response = as_administrator.get(f"{LIST}?{place}")
    assert response.status_code == 200
    assert len(numbers(response.content.decode())) == 3


def test_attempts_are_filtered_by_user_whose_name_is_offered_once_summed(as_administrator: Client, users: Users) -> None:
    make(3)
    make(2, user=users.owner)
    assert len(numbers(as_administrator.get(f"{LIST}?user=owner").content.decode())) == 2
    usage_sums.add_up(datetime.now(UTC) + timedelta(days=1))
    page = as_administrator.get(LIST).content.decode()
    assert "?user=owner" in page
    assert "?user=other" not in page
