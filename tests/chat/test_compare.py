"""One question to several routes, side by side."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from chat import services
from chat.models import Conversation, Generation, Message
from chat.services import Started
from chat.streaming.generation_state import GenerationState
from chat.streaming.hub import Runner
from tests.chat.conftest import Socket
from tests.users import Users

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def finish() -> asyncio.Event:
    """Answers end when it is set."""
    return asyncio.Event()


@pytest.fixture
def name_model(finish: asyncio.Event) -> Runner:
    """Each answer names its model."""

    async def run(live: GenerationState, started: Started) -> None:
        live.apply({"k": "text", "d": f"I am {started.model}."})
        await finish.wait()

    return run


async def compared(socket: Socket) -> None:
    await socket.connect()
    await socket.say(text="Who are you?", model="one", compare=["two", "three"])
    await socket.until(lambda page: all(f"I am {name}." in page.html for name in ("one", "two", "three")))


async def test_answers_stream_side_by_side_and_one_goes_on(
    users: Users, serve: Any, fresh: UUID, name_model: Runner, finish: asyncio.Event
) -> None:
    async with serve(name_model):
        socket, other = Socket(users.owner, fresh), Socket(users.owner, fresh)
        await compared(socket)
        assert await Generation.objects.filter(running=True).acount() == 3
        await other.connect()
        late = await other.until(lambda page: all(f"I am {name}." in page.html for name in ("one", "two", "three")))
        assert 'data-testid="compare"' in late.html
        await other.say(text="In between")
        await other.until(lambda page: "Still answering" in page.html)
        finish.set()
        page = await socket.until(lambda page: page.html.count('data-testid="pick"') == 3)
        answers = {answer.model: answer async for answer in Message.objects.filter(role="assistant")}
        assert {answer.parent_id for answer in answers.values()} == {answers["one"].parent_id}
        client = Client()
        await sync_to_async(client.force_login)(users.other)
        path = f"/chat/messages/{answers['two'].id}/pick/"
        assert (await sync_to_async(client.post)(path)).status_code == 404
        await sync_to_async(services.pick_answer)(message=await Message.objects.select_related("conversation").aget(id=answers["two"].id))
        conversation = await Conversation.objects.aget()
        assert (conversation.leaf_id, conversation.model) == (answers["two"].id, "two")
        assert not await Message.objects.filter(compare__isnull=False).aexists()
        assert "I am three." in page.html
        await socket.say(text="Go on")
        await socket.until(lambda page: page.html.count("I am two.") > 2)


async def test_stop_stops_all_of_them(users: Users, serve: Any, fresh: UUID, name_model: Runner) -> None:
    async with serve(name_model):
        socket = Socket(users.owner, fresh)
        await compared(socket)
        await socket.say("stop")
        await socket.until(lambda page: page.html.count('data-status="stopped"') == 3)
    assert {status async for status in Message.objects.filter(role="assistant").values_list("status", flat=True)} == {"stopped"}


async def test_a_comparison_needs_two_or_three_different_models(users: Users, serve: Any, fresh: UUID, name_model: Runner) -> None:
    async with serve(name_model):
        socket = Socket(users.owner, fresh)
        await socket.connect()
        for others in (["one"], ["two", "three", "four"]):
            await socket.say(text="Hi", model="one", compare=others)
            await socket.frame()
        assert socket.page.html.count("Choose two or three") == 2
    assert not await Conversation.objects.aexists()


async def test_another_question_ends_the_comparison_with_the_first_answer(
    users: Users, serve: Any, fresh: UUID, name_model: Runner, finish: asyncio.Event
) -> None:
    finish.set()
    async with serve(name_model):
        socket = Socket(users.owner, fresh)
        await compared(socket)
        await socket.until(lambda page: page.html.count('data-testid="pick"') == 3)
        await socket.say(text="Next", model="one")
        await socket.until(lambda page: "Next" in page.html and page.last_status == "done")
    assert await Message.objects.filter(role="user", text="Next", parent__model="one").aexists()
    assert not await Message.objects.filter(compare__isnull=False).aexists()
