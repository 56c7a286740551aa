"""Backends without traffic are asked for their models: what that says of their health, and of how quick they are."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.upstream import Upstream, status, stream
from webapp.backends.models import Health
from webapp.backends.runtime import polling

pytestmark = pytest.mark.django_db(transaction=True)


async def polled() -> Health:
    await polling.poll(quiet=timedelta(0))
    return await Health.objects.aget(backend__name="up")


async def test_each_look_tells_how_quick_it_is_now(up: Upstream) -> None:
    slow = stream(0.3, b'{"object": "list", "data": []}', content_type="application/json")
    up.script(slow, path="/v1/models")
    first, second = await polled(), await polled()
    assert (first.state, second.state) == ("up", "up")
    assert first.latency_ms is not None
    assert second.latency_ms is not None
    assert second.latency_ms < 250 < first.latency_ms
    assert first.ok_at
    assert second.ok_at
    assert second.ok_at > first.ok_at


async def test_a_server_that_fails_is_down_until_it_answers_again(up: Upstream) -> None:
    up.script(status(500), path="/v1/models")
    assert (await polled()).state == "down"
    assert (await polled()).state == "up"


async def test_a_server_without_a_list_of_models_is_up(up: Upstream) -> None:
    up.script(status(404), status(501), path="/v1/models")
    assert [(await polled()).state for _ in range(2)] == ["up", "up"]
