"""Run a batch on a server with the Batch API: submit it once despite retries, follow it with growing pauses, read it line by line.

job = await submit(server, file_id, "/v1/chat/completions", key="my-job-7")
job = await follow(server, job["id"])
async for result in results(server, job):
    ...
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final, Protocol

from webapp.patterns.batch.results import BatchResult, read_result
from webapp.patterns.types import Json

KEY: Final = "patchbay_job"
"""The metadata field that identifies an earlier submission of a job."""
FINAL: Final = frozenset({"completed", "failed", "expired", "cancelled"})
SHORTEST, LONGEST = 2.0, 60.0
PAGES, PAGE = 10, 100


class BatchServer(Protocol):
    """The part of a backend that this module needs (`OpenAIBackend` provides it)."""

    async def create_batch(
        self, input_file_id: str, endpoint: str, *, window: str = "24h", metadata: Mapping[str, str] | None = None
    ) -> Json:
        """Create a batch and return its object."""

    async def retrieve_batch(self, batch_id: str) -> Json:
        """Return the object of a batch."""

    async def list_batches(self, *, limit: int = 20, after: str = "") -> list[Json]:
        """Return the newest batches, at most `limit`, that come after the batch `after`."""

    def file_content(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file."""


async def submit(
    server: BatchServer, file_id: str, endpoint: str, *, key: str, metadata: Mapping[str, str] | None = None, tried_before: bool = False
) -> Json:
    """Create the job, or find the one that an earlier call with the same `key` created.

    Args:
        tried_before: an earlier call may have reached the server without its answer reaching us, so search first.
    """
    if tried_before and (known := await find(server, key)):
        return known
    return await server.create_batch(file_id, endpoint, metadata={**(metadata or {}), KEY: key})


async def find(server: BatchServer, key: str) -> Json | None:
    """Return the job that was submitted under `key`, among the newest thousand."""
    after = ""
    for _ in range(PAGES):
        page = await server.list_batches(limit=PAGE, after=after)
        for job in page:
            if (job.get("metadata") or {}).get(KEY) == key:
                return job
        if len(page) < PAGE:
            break
        after = str(page[-1].get("id", ""))
    return None


def pause(age: float) -> float:
    """Return the seconds between polls of a job of that age: a tenth of its age, within bounds."""
    return min(LONGEST, max(SHORTEST, age / 10))


async def follow(
    server: BatchServer,
    job_id: str,
    *,
    on_poll: Callable[[Json], None] | None = None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Json:
    """Poll the job until it has ended, and return it. `on_poll` gets the job each time."""
    waited = 0.0
    while True:
        job = await server.retrieve_batch(job_id)
        if on_poll:
            on_poll(job)
        if job.get("status") in FINAL:
            return job
        wait = pause(waited)
        await sleep(wait)
        waited += wait


async def results(server: BatchServer, job: Json) -> AsyncGenerator[BatchResult, None]:
    """Yield the results of a finished job, successful ones first; of an expired or cancelled one as far as they exist."""
    for name in ("output_file_id", "error_file_id"):
        if file_id := job.get(name):
            async with aclosing(server.file_content(str(file_id))) as content, aclosing(lines(content)) as whole:
                async for line in whole:
                    result = read_result(line)
                    if result is not None:
                        yield result


async def lines(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield complete lines from bytes as they arrive, and a last line without its end."""
    rest = bytearray()
    async for piece in pieces:
        first, *others = piece.split(b"\n")
        rest += first
        for other in others:
            yield bytes(rest)
            rest = bytearray(other)
    if rest:
        yield bytes(rest)
