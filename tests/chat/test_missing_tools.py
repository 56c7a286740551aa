"""A model without tools is asked without them, and the chat remembers it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from chat.generation import generate
from tests.chat.conftest import Page, Socket
from tests.upstream import Received, Upstream, Wire, error, says
from tests.users import Users
from webapp.backends import services
from webapp.backends.models import Backend, Learned
from webapp.backends.runtime import learned, registry
from webapp.core.database import in_database

pytestmark = pytest.mark.django_db(transaction=True)
REFUSAL = "m does not support tools"


async def no_tools(received: Received, wire: Wire) -> None:
    reply = error(REFUSAL) if "tools" in received.body else says("Hello")
    await reply(received, wire)


def prepare(upstream: Upstream) -> None:
    services.add_model(backend=services.add_backend(name="up", base_url=upstream.base_url), name="m")
    upstream.default = no_tools


def asked_with_tools(upstream: Upstream) -> list[bool]:
    return ["tools" in received.body for received in upstream.requests if received.path.endswith("chat/completions")]


async def ask(users: Users, serve: Any, conversation: UUID, *questions: str) -> list[str | None]:
    """Ask in one conversation; return the status of each answer."""
    statuses: list[str | None] = []
    async with serve(generate.write):
        socket = Socket(users.owner, conversation)
        await socket.connect()
        for question in questions:
            socket.page = Page()
            await socket.say(text=question, model="up/m")
            statuses.append((await socket.until_ended()).last_status)
        await socket.close()
    return statuses


async def test_two_refusals_are_remembered_and_shown(users: Users, serve: Any, fresh: UUID, upstream: Upstream) -> None:
    await in_database(prepare, upstream)
    assert await ask(users, serve, fresh, "One", "Two", "Three") == ["done", "done", "done"]
    assert asked_with_tools(upstream)[:5] == [True, False, True, False, False]
    fact = await Learned.objects.aget(kind=Learned.Kind.LACK)
    assert (fact.name, fact.observations, REFUSAL in fact.why) == ("tools", 2, True)
    assert "without tools" in fact.in_words
    await registry.aclose()


async def test_a_forgotten_lack_is_asked_for_again(users: Users, serve: Any, fresh: UUID, upstream: Upstream) -> None:
    await in_database(prepare, upstream)
    await ask(users, serve, fresh, "One", "Two")
    await in_database(lambda: learned.forget(backend=Backend.objects.get(name="up")))
    await ask(users, serve, fresh, "Three")
    assert True in asked_with_tools(upstream)[4:]
    await registry.aclose()
