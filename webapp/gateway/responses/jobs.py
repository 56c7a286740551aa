"""Run background responses, and end those whose process died.

Every server process runs a `JobRunner`. A response belongs to whichever process holds its lease. After a crash the next process finds it:
a background response that has said nothing yet runs again; one in mid-answer goes on where its route's mid-stream policy allows that
("continue", "restart"), and is incomplete otherwise. A response whose client waited on the dead process is incomplete.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final, Literal

from django.conf import settings
from django.db import Error
from django.db.models import QuerySet
from django.utils import timezone

from webapp.backends.runtime import registry
from webapp.backends.runtime.rate_limits import Admission
from webapp.core import leases, threads
from webapp.core.background import run_tasks
from webapp.core.database import DatabaseThread, in_database
from webapp.core.leases import LeaseLost
from webapp.core.wakeups import Wakeup
from webapp.gateway import limits
from webapp.gateway.models import ResponseEvents, StoredResponse
from webapp.gateway.responses import preparation, records
from webapp.gateway.responses.event_log import EventLog
from webapp.gateway.responses.running import INTERRUPTED, RunningResponse, running
from webapp.gateway.responses.tools import UserTools
from webapp.patterns.errors import ModelForbidden, PatternError
from webapp.patterns.fallback.chain import GO_ON, MidStream
from webapp.patterns.responses.encoder import EventEncoder
from webapp.patterns.responses.execution import Execution
from webapp.patterns.responses.objects import error_json, output_text
from webapp.patterns.responses.request import ResponsesRequest
from webapp.patterns.responses.snapshot import Snapshot
from webapp.patterns.responses.tools import ToolSet
from webapp.patterns.types import AttemptLog, Request

logger = logging.getLogger("patchbay.gateway")
STEP_SECONDS: Final = 1.0
DEAD_EVERY: Final = 3
"""Steps between two looks for processes that died."""
SWEEP_EVERY: Final = 600
"""Steps between two rounds of retention."""
GRACE: Final = timedelta(seconds=3)
"""How long a queued response waits for a Celery worker before a server process runs it itself."""
MAX_AT_ONCE: Final = 64
"""Background responses that one process runs at once."""
Status = StoredResponse.Status

_owner: tuple[int, str] = (0, "")


def this_process() -> str:
    """Return the name under which this process leases responses."""
    global _owner  # noqa: PLW0603 - one name a process, a new one after a fork
    if _owner[0] != os.getpid():
        _owner = (os.getpid(), leases.this_worker())
    return _owner[1]


class JobRunner:
    """One process's share of the background responses.

    Args:
        grace: leave fresh responses to Celery's workers for `GRACE`, where there is a Redis. A worker itself does not wait.
    """

    def __init__(self, *, grace: bool = True) -> None:
        self._grace = GRACE if grace and settings.REDIS_URL else timedelta()
        self.database = DatabaseThread("responses-jobs")
        self.owner = this_process()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wakeup = Wakeup()
        self._steps = 0

    def wake(self) -> None:
        """Look for work now. Safe from any thread."""
        self._wakeup.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._wakeup.clear()
            try:
                await self.step()
            except Error as error:
                logger.error("background responses wait for the database: %s", error)  # noqa: TRY400 - every second
            await self._wakeup.wait(STEP_SECONDS)

    async def step(self) -> None:
        """Renew leases, cancel what users cancelled, and start what is waiting."""
        for response_id in await self.database.run(_housekeeping, self.owner, dead=self._steps % DEAD_EVERY == 0):
            if response_id in running():
                running()[response_id].cancel("cancelled")
        if self._steps % SWEEP_EVERY == 0:
            while await self.database.run(records.delete_expired) == records.BATCH:
                logger.debug("more stored responses have expired")
        self._steps += 1
        while len(self._tasks) < MAX_AT_ONCE and (row := await self.database.run(_claimed, self.owner, self._grace)) is not None:
            self.start(row)

    def start(self, row: StoredResponse) -> asyncio.Task[None]:
        """Run a response that was claimed."""
        task = asyncio.create_task(self._run(row), name=row.pk)
        self._tasks[row.pk] = task
        task.add_done_callback(lambda _: self._done(row.pk))
        return task

    def _done(self, response_id: str) -> None:
        self._tasks.pop(response_id, None)
        self._wakeup.set()

    async def idle(self) -> None:
        """Wait until nothing runs: for tests and workers."""
        while self._tasks:
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def aclose(self) -> None:
        """Stop within seconds. What was running is left to the next process."""
        for response in list(running().values()):
            if response.row.background:
                response.cancel("stopped")
        for task in list(self._tasks.values()):
            task.cancel()
        await self.idle()
        with suppress(Error):
            await self.database.run(leases.release_all, _active().filter(background=True), owner=self.owner)
        await self.database.aclose()

    async def _run(self, row: StoredResponse) -> None:
        async with threads.shared():
            try:
                await _Job(row, await in_database(_events_of, row)).run()
            except LeaseLost:
                logger.info("response %s is in other hands", row.pk)
            except Error as error:
                logger.error("response %s waits for the database: %s", row.pk, error)  # noqa: TRY400 - it is claimed again
                with suppress(Error):
                    await in_database(leases.release, row)


def _active() -> QuerySet[StoredResponse]:
    return StoredResponse.objects.filter(status__in=StoredResponse.ACTIVE)


def _claimed(owner: str, grace: timedelta) -> StoredResponse | None:
    candidates = _active().select_related("user").order_by("created_at")
    if grace:
        candidates = candidates.exclude(status=Status.QUEUED, created_at__gt=timezone.now() - grace)
    return leases.claim(candidates, owner=owner, status=Status.IN_PROGRESS)


def _housekeeping(owner: str, *, dead: bool) -> list[str]:
    """Renew this process's leases; the ids of its responses that a user cancelled."""
    if dead:
        leases.release_dead(_active())
    mine, now = _active().filter(owner=owner), timezone.now()
    due = mine.filter(lease_until__lt=now + leases.LEASE * 3 / 4)
    if due.exists():  # an update takes SQLite's write lock even where it changes nothing
        due.update(lease_until=now + leases.LEASE)
    return list(mine.filter(cancel_requested=True).values_list("pk", flat=True))


class _Job:
    """One claimed response, from where its log ends."""

    def __init__(self, row: StoredResponse, events: list[bytes]) -> None:
        self._row = row
        self._snapshot = Snapshot.of(events, row.response)
        self._response = self._snapshot.response
        first, items = self._snapshot.sequence, self._snapshot.next_item
        self._encoder = EventEncoder(self._response, ToolSet(), sequence=first, items=items)
        self._log = EventLog(row, first=first)
        self._trail = AttemptLog()

    async def run(self) -> None:
        """Answer the request, or end what can not go on."""
        if self._row.cancel_requested:
            await self._end("cancelled")
        elif not self._row.background or not await self._answered():
            await self._end("incomplete")

    async def _end(self, status: Literal["cancelled", "incomplete"]) -> None:
        """End a response that its process left behind; its output so far stays."""
        self._response["output"] = self._snapshot.settle_items()
        self._log.append(self._encoder.interrupt(INTERRUPTED, status))
        await self._log.finish(self._response)

    async def _answered(self) -> bool:
        """Run the response to its end; False where it was in mid-answer and may not go on."""
        row = self._row
        try:
            if not row.user.is_active:
                raise ModelForbidden("The user who created this response may not sign in any more.")
            chain = await registry.resolve(row.model, user=row.user)
            request = ResponsesRequest(row.request, await in_database(preparation.history, row.user_id, row.request), row.input)
            execution = Execution(
                chain,
                request,
                response=self._response,
                server=UserTools(row.user, row.request_id),
                trail=self._trail,
                encoder=self._encoder,
                announced=True,
            )
            if self._snapshot.has_output:
                if not self._may_go_on(chain.mid_stream):
                    return False
                await self._run(execution, await self._continued(chain.mid_stream, execution))
            else:
                await self._run(execution, None)
        except PatternError as error:
            self._log.append(self._encoder.fail(error_json(error)))
            await self._log.finish(self._response)
        return True

    async def _run(self, execution: Execution, request: Request | None) -> None:
        running = RunningResponse(self._row, execution, first=self._snapshot.sequence)
        try:
            async for _ in running.events(request):
                pass
        except (PatternError, LeaseLost, Error):
            raise
        except Exception as error:
            logger.exception("response %s failed", self._row.pk)
            running.log.append(execution.failed(error))
            await running.log.finish(self._response)
        finally:
            await self._settle()

    async def _settle(self) -> None:
        """Record the attempts, and count what they used within the user's limits."""
        row = self._row
        registry.record(
            self._trail,
            request_id=row.request_id,
            source="gateway",
            user_id=row.user_id,
            token_id=row.token_id,
            route=row.model,
            endpoint="responses",
        )
        await Admission(await limits.limits_of(row.user_id, row.token_id)).settle(self._trail)

    def _may_go_on(self, policy: MidStream) -> bool:
        """Return whether a response in mid-answer may go on: never after a tool call under "continue", as in a chain."""
        if policy == "restart":
            return True
        kinds = {item["type"] for item in self._snapshot.output}
        return policy == "continue" and kinds <= {"message", "reasoning"} and bool(self._text())

    async def _continued(self, policy: MidStream, execution: Execution) -> Request | None:
        """Return the request to go on with; None to begin anew, without the items so far."""
        if policy == "restart":
            self._response["output"] = []
            return None
        text = self._text()
        self._response["output"] = self._snapshot.settle_items()
        request = await execution.request()
        said = [{"role": "assistant", "content": text}, {"role": "user", "content": GO_ON}]
        return request.with_messages([*request.messages, *said])

    def _text(self) -> str:
        return output_text({"output": self._snapshot.output})


def _events_of(row: StoredResponse) -> list[bytes]:
    return [data.encode() for data in ResponseEvents.objects.filter(response=row).values_list("data", flat=True)]


_here: JobRunner | None = None


def wake() -> None:
    """Have this process look for queued responses at once, where it has a runner; the others look within a second."""
    if _here is not None:
        _here.wake()


@asynccontextmanager
async def service() -> AsyncGenerator[None, None]:
    """Run background responses beside the requests of a server process."""
    global _here  # noqa: PLW0603 - one runner a process, woken by requests
    runner = _here = JobRunner()
    try:
        async with run_tasks(responses=runner.run):
            yield
    finally:
        _here = None
        await runner.aclose()
