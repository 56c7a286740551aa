"""Run batches in the server process: find due batches and advance each by one step.

Any number of processes may run this. Steps of a whole batch (validate, finish, poll a remote job) need the batch's lease, rows need their
chunk's.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import Error
from django.db.models import QuerySet
from django.utils import timezone

from batches import services, webhooks
from batches.execution import chunks, completion, dispatch
from batches.execution.row_executor import make_executor
from batches.input import execution_plan, files, validation
from batches.models import Batch, BatchChunk, BatchRow
from batches.remote import remote_batches
from webapp.core import leases
from webapp.core.background import run_tasks
from webapp.core.database import DatabaseThread
from webapp.core.wakeups import Wakeup

logger = logging.getLogger("patchbay.batches")
STEP_SECONDS = 1.0
SWEEP_SECONDS = 600.0
DRAIN = timedelta(seconds=10)
Status = Batch.Status


class Runner:
    """The runner of one process."""

    def __init__(self) -> None:
        self.database = DatabaseThread("batches-write")
        self.owner = leases.this_worker()
        self._tasks: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._telling: asyncio.Task[None] | None = None
        self._wakeup = Wakeup()
        self._swept = float("-inf")

    def wake(self) -> None:
        """Look for due batches now. Safe from any thread."""
        self._wakeup.set()

    async def run(self) -> None:
        """Run until cancelled."""
        await self._guarded(partial(self.database.run, _release_dead))
        while True:
            self._wakeup.clear()
            await self._guarded(self.step)
            await self._wakeup.wait(STEP_SECONDS)

    async def _guarded(self, step: Callable[[], Awaitable[object]]) -> None:
        try:
            await step()
        except Error as error:
            logger.error("batches wait for the database: %s", error)  # noqa: TRY400 - every few seconds

    async def step(self) -> None:
        """Start a task for each due batch without one, and do the housekeeping."""
        self._tasks = {key: task for key, task in self._tasks.items() if not task.done()}
        for batch in await self.database.run(due):
            if batch.pk not in self._tasks:
                self._tasks[batch.pk] = asyncio.create_task(self._advance(batch))
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._guarded(partial(webhooks.deliver_due, self.database)))
        await self._sweep()

    async def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._swept > SWEEP_SECONDS:
            self._swept = now
            await self.database.run(files.delete_expired)
            await self.database.run(services.delete_old_batches)

    async def idle(self) -> None:
        """Wait until no task runs. For tests and commands."""
        await asyncio.gather(*self._tasks.values())

    async def aclose(self) -> None:
        """Stop within seconds. Rows in flight are sent again by the next holder."""
        tasks = [*self._tasks.values(), *([self._telling] if self._telling else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._guarded(partial(self.database.run, _release_all, self.owner))
        await self.database.aclose()

    async def _advance(self, batch: Batch) -> None:
        try:
            await self._steps(batch)
        except leases.LeaseLost:
            logger.info("batch %s is in other hands", batch.api_id)
        except Error as error:
            logger.error("batch %s waits for the database: %s", batch.api_id, error)  # noqa: TRY400 - every few seconds
        except Exception:
            logger.exception("batch %s could not go on; it is tried again", batch.api_id)
            await self._guarded(partial(self.database.run, later, batch, timedelta(seconds=30)))
        self._wakeup.set()

    async def _steps(self, batch: Batch) -> None:
        if batch.status == Status.VALIDATING:
            await self._alone(batch, self._validate)
        elif batch.executor == Batch.Executor.REMOTE and batch.in_progress_at:
            await self._alone(batch, partial(remote_batches.advance, database=self.database))
        elif batch.status == Status.CANCELLING:
            await self._stop(batch, Status.CANCELLED)
        elif batch.expires_at <= timezone.now():
            await self._stop(batch, Status.EXPIRED)
        else:
            await self._work(batch)

    async def _alone(self, batch: Batch, step: Callable[[Batch], Awaitable[None]]) -> None:
        """Run a step that only one process may run, while a heartbeat renews the lease."""
        held = await self.database.run(leases.claim, whole().filter(pk=batch.pk, status=batch.status), owner=self.owner)
        if held is None:
            return
        try:
            async with run_tasks(lease=partial(self._heartbeat, held)):
                await step(held)
        finally:
            await self.database.run(leases.release, held)

    async def _heartbeat(self, batch: Batch) -> None:
        """Renew the lease; if it is lost, the step's next write raises LeaseLost."""
        with suppress(leases.LeaseLost):
            while True:
                await asyncio.sleep(leases.HEARTBEAT_SECONDS)
                await self.database.run(leases.renew, batch)

    async def _validate(self, batch: Batch) -> None:
        checked = await asyncio.to_thread(validation.validate, batch.input_file, endpoint=batch.endpoint)
        plan, errors = await execution_plan.plan(
            checked,
            user=batch.user,
            file=batch.input_file,
            executor=batch.executor,
            concurrency=batch.concurrency,
            structured=batch.schema is not None,
        )
        if plan is None:
            every = [*checked.errors, *errors]
            await self.database.run(validation.reject_input, batch=batch, errors=every, count=checked.error_count + len(errors))
        else:
            await self.database.run(validation.start_batch, batch=batch, checked=checked, plan=plan)

    async def _work(self, batch: Batch) -> None:
        if batch.status == Status.IN_PROGRESS and await self.database.run(completion.has_open_chunks, batch):
            if bool(settings.REDIS_URL) and await self.database.run(dispatch.enqueue_chunks, batch):
                return
            claim = partial(chunks.claim_next, batch, self.owner)
            await chunks.work_through(batch, claim, self._tools())
        elif batch.status in {Status.IN_PROGRESS, Status.FINALIZING}:
            await self._alone(batch, partial(self._finish, status=Status.COMPLETED))

    def _tools(self) -> chunks.Work:
        return chunks.Work(database=self.database, make_executor=make_executor, owner=self.owner)

    async def _stop(self, batch: Batch, status: Batch.Status) -> None:
        """End a batch early: wait briefly for its workers, then settle unsent rows."""
        since = batch.cancelling_at or batch.expires_at
        if await self.database.run(completion.has_workers, batch) and timezone.now() < since + DRAIN:
            return
        await self._alone(batch, partial(self._finish, status=status))

    async def _finish(self, batch: Batch, status: Batch.Status) -> None:
        if status != Status.COMPLETED:
            state = BatchRow.State.CANCELLED if status == Status.CANCELLED else BatchRow.State.EXPIRED
            await self.database.run(completion.settle_open, batch=batch, state=state)
        await self.database.run(completion.finish, batch=batch, status=status)
        logger.info("batch %s has ended: %s", batch.api_id, status)


def due() -> list[Batch]:
    """Return the batches with pending work."""
    return list(whole().filter(status__in=Batch.ACTIVE, due_at__lte=timezone.now()).order_by("due_at"))


def whole() -> QuerySet[Batch]:
    """Return batches with their related rows, because the event loop must not query for them later."""
    return Batch.objects.select_related("input_file", "user")


def later(batch: Batch, wait: timedelta) -> None:
    """Look at the batch again after `wait`."""
    Batch.objects.filter(pk=batch.pk).update(due_at=timezone.now() + wait)


_here: Runner | None = None


def wake() -> None:
    """Wake this process's runner now, if there is one. Other processes notice within a second."""
    if _here is not None:
        _here.wake()


@asynccontextmanager
async def service() -> AsyncGenerator[None, None]:
    """Run the runner as a background service of the server."""
    global _here  # noqa: PLW0603 - one runner per process, which views wake
    runner = _here = Runner()
    try:
        async with run_tasks(batches=runner.run):
            yield
    finally:
        _here = None
        await runner.aclose()


def _release_dead() -> int:
    """Free the batches and chunks of killed processes of this machine."""
    return leases.release_dead(Batch.objects.all()) + leases.release_dead(BatchChunk.objects.all(), sent_at=None)


def _release_all(owner: str) -> None:
    """Release the batches and chunks of a stopping runner."""
    leases.release_all(Batch.objects.all(), owner=owner)
    leases.release_all(BatchChunk.objects.all(), owner=owner, sent_at=None)
