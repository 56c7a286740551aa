"""A write that the database refuses for good delays no other; a write that it cannot take yet is kept."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.db import DataError, OperationalError
from django.db.models import QuerySet

from chat import services
from chat.generation import finalize
from chat.models import LogRow, Message
from chat.services import Started
from chat.streaming.generation_state import GenerationState
from tests.chat.conftest import Socket, saying
from tests.users import Users
from webapp.core.leases import SilenceWatch

pytestmark = pytest.mark.django_db(transaction=True)
POISON = "poison"


def refuses(rows: Any) -> bool:
    """Whether the database of these tests has something against it."""
    return POISON in str([row.events for row in rows])


@pytest.fixture
def strict_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuses rows of the log that have the poison in them, as PostgreSQL does those with what it cannot hold."""
    insert = QuerySet.bulk_create

    def bulk_create(self: Any, rows: Any, **options: Any) -> Any:
        if self.model is LogRow and refuses(rows):
            raise DataError("invalid input syntax")
        return insert(self, rows, **options)

    monkeypatch.setattr(QuerySet, "bulk_create", bulk_create)


async def test_a_row_that_is_refused_does_not_hold_up_the_others(users: Users, serve: Any, strict_database: None) -> None:
    go_on = asyncio.Event()

    async def run(live: GenerationState, started: Started) -> None:
        assert started.question
        live.apply({"k": "text", "d": started.question.text})
        await go_on.wait()

    async with serve(run):
        sockets = [Socket(users.owner, uuid.uuid4()) for _ in range(2)]
        for socket, text in zip(sockets, (POISON, "healthy"), strict=True):
            await socket.connect()
            await socket.say(text=text)
        async with asyncio.timeout(5):
            while not await LogRow.objects.aexists():  # noqa: ASYNC110 - a database sends no events
                await asyncio.sleep(0.05)
        assert [row.events async for row in LogRow.objects.all()] == [[{"k": "text", "d": "healthy"}]]
        go_on.set()
        for socket in sockets:
            assert (await socket.until_ended()).last_status == "done"
    assert {message.text async for message in Message.objects.filter(role="assistant")} == {POISON, "healthy"}


def refusing(monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
    """The next writes of a whole answer fail like this, one after the other."""
    finish, left = services.finish_generation, list(errors)

    def failing(**details: Any) -> Any:
        if left:
            raise left.pop(0)
        return finish(**details)

    monkeypatch.setattr(services, "finish_generation", failing)


@pytest.mark.parametrize(("refusals", "text"), [(1, "All of it"), (2, "")])
async def test_an_answer_that_is_refused_ends_as_failed_with_what_was_taken(
    users: Users, serve: Any, fresh: UUID, monkeypatch: pytest.MonkeyPatch, refusals: int, text: str
) -> None:
    refusing(monkeypatch, *[DataError("value too long")] * refusals)
    async with serve(saying("All of it")):
        socket = Socket(users.owner, fresh)
        await socket.connect()
        await socket.say(text="Hi")
        assert (await socket.until_ended()).last_status == "failed"
    answer = await Message.objects.aget(role="assistant")
    assert (answer.status, answer.error, answer.text) == ("failed", services.REFUSED, text)


async def test_an_answer_waits_for_a_database_that_is_away(users: Users, serve: Any, fresh: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 50."""
    monkeypatch.setattr(finalize, "RETRY_SECONDS", 0.01)
    refusing(monkeypatch, *[OperationalError("the server closed the connection")] * 5)
    async with serve(saying("All of it")):
        socket = Socket(users.owner, fresh)
        await socket.connect()
        await socket.say(text="Hi")
        assert (await socket.until_ended()).last_status == "done"
    assert (await Message.objects.aget(role="assistant")).text == "All of it"


async def test_an_orphan_that_is_refused_does_not_hold_up_the_reaping(users: Users, fresh: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave_orphans() -> list[Started]:
        return [
            services.send_message(owner=uuid.uuid4(), conversation_id=uuid.uuid4(), user=users.owner, text=str(number))
            for number in range(3)
        ]

    await sync_to_async(leave_orphans)()
    refusing(monkeypatch, DataError("value too long"))
    assert len(await sync_to_async(services.interrupt_orphans)(uuid.uuid4(), SilenceWatch(6, gap=4))) == 3
    assert sorted([message.status async for message in Message.objects.filter(role="assistant")]) == [
        "failed",
        "interrupted",
        "interrupted",
    ]


async def test_a_finish_reason_of_any_length_is_kept_as_far_as_the_column_goes(users: Users, serve: Any, fresh: UUID) -> None:
    """PostgreSQL refuses what SQLite lets through."""

    async def run(live: GenerationState, started: Started) -> None:
        live.outcome.finish_reason = "content_filter_\0" + "x" * 300

    async with serve(run):
        socket = Socket(users.owner, fresh)
        await socket.connect()
        await socket.say(text="Hi")
        await socket.until_ended()
    assert (await Message.objects.aget(role="assistant")).finish_reason == "content_filter_xxxxx"
