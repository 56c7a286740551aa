"""Requests and tokens per minute of a user, in the chat: the question stays, the card says when to try again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async

from chat.generation import generate
from chat.models import Message
from tests.chat.conftest import Page, Socket
from tests.upstream import Upstream, says
from tests.users import Users
from webapp.accounts.models import Budget
from webapp.backends import services as backend_services
from webapp.backends.models import Allowance
from webapp.backends.runtime import registry

pytestmark = pytest.mark.django_db(transaction=True)


def prepare(upstream: Upstream) -> None:
    backend = backend_services.add_backend(name="up", base_url=upstream.base_url)
    backend_services.add_model(backend=backend, name="m")
    upstream.default = says("Hello")


async def test_a_question_over_the_limit_is_kept_and_may_be_asked_again(users: Users, serve: Any, fresh: UUID, upstream: Upstream) -> None:
    await sync_to_async(prepare)(upstream)
    await Budget.objects.acreate(user=users.owner, requests_per_minute=1, tokens_per_minute=100_000)
    async with serve(generate.write):
        socket = Socket(users.owner, fresh)
        await socket.connect()
        await socket.say(text="One", model="up/m")
        assert (await socket.until_ended()).last_status == "done"
        socket.page = Page()
        await socket.say(text="Two, at length", model="up/m")
        page = await socket.until_ended()
        await socket.close()
    await registry.aclose()
    assert page.last_status == "failed"
    card = page.frames[-1]["content"]
    assert "Rate limit reached: you may make 1 request per minute. Try again in " in card
    assert 'data-level="warning"' in card
    assert "Try again</button>" in card
    assert await Message.objects.filter(role="user").order_by("created_at").alast() == await Message.objects.aget(text="Two, at length")
    assert len([request for request in upstream.requests if request.method == "POST"]) == 1
    assert (await Allowance.objects.aget(user=users.owner)).tokens_left < 100_000
