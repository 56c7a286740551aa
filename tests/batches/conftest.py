"""Shared fixtures of the batch tests: an upstream as a backend, a runner, and a batch from a few lines."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from channels.db import database_sync_to_async

from batches import services
from batches.execution.runner import Runner
from batches.input import files
from batches.models import Batch, BatchRow
from tests.upstream import Upstream
from tests.users import make_users
from webapp.accounts.models import User
from webapp.backends import services as backend_services
from webapp.backends.runtime import registry

CHAT = "/v1/chat/completions"


def line(custom_id: str, text: str = "hi", *, model: str = "up/m", **fields: Any) -> bytes:
    """One line of an input file."""
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body} | fields).encode() + b"\n"


def lines(count: int, **options: Any) -> list[bytes]:
    return [line(f"row-{number}", f"question {number}", **options) for number in range(1, count + 1)]


def make_batch(user: User, data: Sequence[bytes], **options: Any) -> Batch:
    """A batch over these lines, run locally unless asked otherwise."""
    file = files.store(user=user, filename="in.jsonl", purpose="batch", data=data)
    return services.create_batch(user=user, input_file=file, **{"executor": "local", **options})


@pytest.fixture
def upstream(make_upstream: Callable[..., Upstream]) -> Upstream:
    return make_upstream()


@pytest_asyncio.fixture
async def owner(transactional_db: None, upstream: Upstream) -> AsyncIterator[User]:
    """The owner, with `upstream` as the backend `up` that offers the model `m`; all connections are closed at the end."""

    def prepare() -> User:
        backend = backend_services.add_backend(name="up", base_url=upstream.base_url)
        backend_services.add_model(backend=backend, name="m")
        return make_users().owner

    yield await database_sync_to_async(prepare)()
    await registry.aclose()


@asynccontextmanager
async def running() -> AsyncIterator[Runner]:
    """A runner that works until the end of the block."""
    runner = Runner()
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await runner.aclose()


async def until(what: Callable[[Batch], bool], batch: Batch, *, seconds: float = 20) -> Batch:
    """Wait until something is true of the batch; the batch as it then is."""
    deadline = time.monotonic() + seconds
    while True:
        await batch.arefresh_from_db()
        if what(batch):
            return batch
        assert time.monotonic() < deadline, f"{batch.status}: {batch.completed} + {batch.failed} of {batch.total}; {batch.paused}"
        await asyncio.sleep(0.02)


def ended(batch: Batch) -> bool:
    return not batch.is_active


async def run(batch: Batch, *, seconds: float = 20) -> Batch:
    """Let a runner bring the batch to its end."""
    async with running():
        return await until(ended, batch, seconds=seconds)


async def rows_of(batch: Batch) -> list[BatchRow]:
    return [row async for row in batch.rows.order_by("number")]


in_thread: Callable[..., Callable[..., Awaitable[Any]]] = database_sync_to_async
