"""A background task survives every failure and runs until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from django.db import InterfaceError

from webapp.core import background
from webapp.core.background import cancelled, run_tasks


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "AGAIN_SECONDS", 0.0)


class Service:
    """Fails as told, one failure a run, and goes on for good after them; `ended` says that it was cancelled."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.runs = 0
        self.up = asyncio.Event()
        self.ended = False

    async def run(self) -> None:
        self.runs += 1
        if self.failures:
            raise self.failures.pop(0)
        self.up.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


async def test_it_runs_until_the_block_is_left() -> None:
    service = Service()
    async with run_tasks(name=service.run):
        await service.up.wait()
        assert not service.ended
    assert service.ended


async def test_what_fails_is_begun_again_and_told_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(ValueError("a bug"), KeyError("another"))
    async with run_tasks(indexes=service.run):
        await service.up.wait()
    assert service.runs == 3
    assert [record.getMessage() for record in caplog.records] == ["indexes failed and is restarted"] * 2
    assert "a bug" in caplog.text  # with its traceback


async def test_a_database_that_is_away_is_a_line_in_the_log_and_not_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """FAULTS 50: Django's InterfaceError is no DatabaseError, and means the same here."""
    service = Service(InterfaceError("connection already closed"))
    async with run_tasks(health=service.run):
        await service.up.wait()
    assert [record.getMessage() for record in caplog.records] == ["health waits for the database: connection already closed"]
    assert caplog.records[0].exc_info is None


async def test_what_comes_to_its_end_is_not_begun_again() -> None:
    runs = []

    async def once() -> None:
        runs.append(1)

    async with run_tasks(once=once):
        for _ in range(5):
            await asyncio.sleep(0)
    assert runs == [1]


async def test_one_that_fails_leaves_the_others_alone() -> None:
    good, bad = Service(), Service(*(ValueError() for _ in range(5)))
    async with run_tasks(good=good.run, bad=bad.run):
        await bad.up.wait()
        assert (good.runs, bad.runs) == (1, 6)


async def test_what_swallows_a_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a stop hangs: seen with Redis under uvicorn."""
    monkeypatch.setattr(background, "DEAF_SECONDS", 0.01)
    swallowed = asyncio.Event()

    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        swallowed.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await cancelled([task])
    assert swallowed.is_set()
    assert task.cancelled()
