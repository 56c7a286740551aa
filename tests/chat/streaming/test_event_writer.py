"""The writer thread runs what waits in one transaction."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from django.db import transaction

from chat import services
from chat.models import Owner
from chat.streaming.event_writer import Writer

pytestmark = pytest.mark.django_db(transaction=True)


@asynccontextmanager
async def busy_writer() -> AsyncGenerator[tuple[Writer, threading.Event]]:
    """A writer whose thread waits for the event, so that the calls made meanwhile wait, too."""
    writer = Writer(written=lambda _ids: None, lost=lambda _ids: None, tick=lambda: None)
    writer.start()
    released = threading.Event()
    waiting = asyncio.ensure_future(writer.call(released.wait))
    await asyncio.sleep(0)
    try:
        yield writer, released
    finally:
        released.set()
        await waiting
        await writer.stop()


def store(runs: list[str], name: str) -> str:
    """Store a row, and note the name."""
    runs.append(name)
    services.heartbeat(uuid.uuid4(), name)
    return name


def refuse(runs: list[str]) -> str:
    """Fail after a row is stored."""
    store(runs, "refused")
    raise ValueError("refused")


async def test_calls_that_wait_share_a_transaction() -> None:
    committed: list[str] = []

    def write(name: str) -> str:
        transaction.on_commit(lambda: committed.append("commit"))
        return store(committed, name)

    async with busy_writer() as (writer, released):
        calls = [asyncio.ensure_future(writer.call(lambda name=name: write(name))) for name in "abc"]  # type: ignore[misc]  # a default
        await asyncio.sleep(0)
        released.set()
        assert await asyncio.gather(*calls) == ["a", "b", "c"]
    assert committed == ["a", "b", "c", "commit", "commit", "commit"]


async def test_a_call_that_fails_takes_no_other_with_it() -> None:
    runs: list[str] = []
    async with busy_writer() as (writer, released):
        calls = [
            asyncio.ensure_future(writer.call(run))
            for run in (lambda: store(runs, "first"), lambda: refuse(runs), lambda: store(runs, "last"))
        ]
        await asyncio.sleep(0)
        released.set()
        first, refused, last = await asyncio.gather(*calls, return_exceptions=True)
    assert (first, last) == ("first", "last")
    assert isinstance(refused, ValueError)
    assert sorted([owner.process async for owner in Owner.objects.all()]) == ["first", "last"]
