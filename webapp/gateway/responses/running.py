"""The responses that run in this process: each with its log and its task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal
from weakref import WeakKeyDictionary

from webapp.core.database import in_database
from webapp.core.leases import LeaseLost
from webapp.gateway.models import StoredResponse
from webapp.gateway.responses import records
from webapp.gateway.responses.event_log import EventLog
from webapp.patterns.errors import PatternError
from webapp.patterns.responses.execution import Execution
from webapp.patterns.responses.objects import TERMINAL
from webapp.patterns.types import Request

Why = Literal["", "cancelled", "lost", "stopped"]
INTERRUPTED = "interrupted"
"""Why a response is incomplete whose client or process went away."""


class RunningResponse:
    """One stored response that runs here.

    Args:
        row: with the fence it was claimed with.
        execution: makes its events.
        first: the number of the first event that this run makes.
        stored: done once the row is in the database; None where it is there already.
    """

    def __init__(
        self, row: StoredResponse, execution: Execution, *, first: int = 0, stored: asyncio.Future[StoredResponse] | None = None
    ) -> None:
        self.row = row
        self.execution = execution
        self.log = EventLog(row, first=first, on_lost=lambda: self.cancel("lost"))
        self.ended_by: Why = ""
        self._stored = stored
        self._task: asyncio.Task[object] | None = None

    def cancel(self, why: Why) -> None:
        """Stop the run: at the user's wish, because the lease was lost, or because the process stops."""
        if self._task is not None and not self.ended_by:
            self.ended_by = why
            self._task.cancel()

    async def events(self, request: Request | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the events and log them. The last ones are yielded when the end is committed.

        Whatever ends it, the end is stored: a failure, a client that goes away, a cancellation by the user. Only a process that stops
        leaves the response to the next one.
        """
        self._task = asyncio.current_task()
        registry = running()
        registry[self.row.pk] = self
        try:
            async with aclosing(self.execution.stream(request)) as stream:
                async for events in stream:
                    if self._stored is not None:
                        await self._stored
                        self._stored = None
                    self.log.append(events)
                    if self.execution.response["status"] in TERMINAL:
                        await self.log.finish(self.execution.response)
                    yield events
        except (asyncio.CancelledError, GeneratorExit):
            await self._stopped()
            raise
        except PatternError:  # no backend answered, so no client knows the response's id
            await self._forget()
            raise
        finally:
            registry.pop(self.row.pk, None)

    async def _stopped(self) -> None:
        """Store that the response was cut off, unless another process goes on with it."""
        if self.ended_by in {"lost", "stopped"} or self.execution.response["status"] in TERMINAL:
            return
        if self._stored is not None:
            await self._forget()
            return
        status: Literal["cancelled", "incomplete"] = "cancelled" if self.ended_by == "cancelled" else "incomplete"
        self.log.append(self.execution.interrupted(INTERRUPTED, status))
        try:
            await self.log.finish(self.execution.response)
        except LeaseLost:
            return

    async def _forget(self) -> None:
        """Delete the row of a response that never had an event."""
        if self._stored is not None:
            await self._stored
            await in_database(records.delete_response, self.row)


_running: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, RunningResponse]] = WeakKeyDictionary()


def running() -> dict[str, RunningResponse]:
    """Return the responses that run on this event loop, by id."""
    return _running.setdefault(asyncio.get_running_loop(), {})
