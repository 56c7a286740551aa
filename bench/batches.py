"""Batches: validation, rows a second against a bare semaphore over raw HTTP that keeps nothing, memory, the monitor page.

    python -m bench batches [rows] [megabytes]

The reference opens 64 plain connections and writes prepared requests on them; the runner does all that a batch is: it reads each request
from the file, resolves its route, keeps the answer durably with counts and attempts, and can be killed at any moment.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from bench.instant import instant_upstream

AT_ONCE = 64
CHAT = "/v1/chat/completions"


def _prepare_django(home: str) -> None:
    os.environ.update(PATCHBAY_HOME=home, PATCHBAY_DETECT="0", DJANGO_SETTINGS_MODULE="webapp.settings")
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)


def lines(count: int, padding: int = 0) -> Iterator[bytes]:
    from webapp.patterns.batch import request_line

    for number in range(count):
        messages = [{"role": "user", "content": f"Question {number} " + "lorem ipsum " * (padding // 12)}]
        yield request_line(f"row-{number}", {"model": "bench/m", "messages": messages}, endpoint=CHAT)


def validation(megabytes: int) -> None:
    """MB/s of `patterns.batch.validate`, against reading the same lines with the standard library's json."""
    from webapp.patterns.batch import validate

    raw = b"".join(lines(50_000, max(0, megabytes * 1024 * 1024 // 50_000 - 170)))
    size = len(raw) / 1e6
    began = time.perf_counter()
    for line in io.BytesIO(raw):
        json.loads(line)
    plain = size / (time.perf_counter() - began)
    began = time.perf_counter()
    result = validate(io.BytesIO(raw))
    ours = size / (time.perf_counter() - began)
    assert result.ok
    assert len(result.lines) == 50_000
    print(f"validation of {size:.0f} MB in 50,000 lines: {ours:.0f} MB/s, {ours / plain:.2f}x of json.loads alone (goal: 50 MB/s)")


async def bare(base_url: str, count: int) -> float:
    """Rows a second of a semaphore over raw HTTP that keeps nothing."""
    address = urlsplit(base_url)
    idle = [await asyncio.open_connection(address.hostname, address.port) for _ in range(AT_ONCE)]
    semaphore = asyncio.Semaphore(AT_ONCE)

    async def ask(number: int) -> None:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": f"Question {number}"}]}).encode()
        async with semaphore:
            reader, writer = idle.pop()
            head = f"POST {address.path}/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"content-length:")[2].split(b"\r\n")[0])
            json.loads(await reader.readexactly(length))
            idle.append((reader, writer))

    began = time.perf_counter()
    await asyncio.gather(*(ask(number) for number in range(count)))
    rate = count / (time.perf_counter() - began)
    for _, writer in idle:
        writer.close()
    return rate


async def with_httpx(base_url: str, count: int) -> float:
    """The same with httpx2, as most people would write it."""
    import httpx2

    semaphore = asyncio.Semaphore(AT_ONCE)
    async with httpx2.AsyncClient(base_url=base_url) as client:

        async def ask(number: int) -> None:
            async with semaphore:
                body = {"model": "m", "messages": [{"role": "user", "content": f"Question {number}"}]}
                (await client.post("/chat/completions", json=body)).json()

        began = time.perf_counter()
        await asyncio.gather(*(ask(number) for number in range(count)))
        return count / (time.perf_counter() - began)


async def ours(base_url: str, count: int) -> float:
    """Rows a second of the embedded runner, from the first row sent to the last answer kept."""
    from channels.db import database_sync_to_async

    from batches.models import Batch
    from batches.runner import Runner
    from webapp.backends import registry

    batch = await database_sync_to_async(_batch)(base_url, count)
    runner = Runner()
    task = asyncio.create_task(runner.run())
    while batch.is_active:
        await asyncio.sleep(0.1)
        batch = await Batch.objects.aget(pk=batch.pk)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await runner.aclose()
    await registry.aclose()
    assert (batch.status, batch.completed) == ("completed", count), (batch.status, batch.completed, batch.failed)
    assert batch.in_progress_at is not None
    assert batch.finalizing_at is not None
    seconds: float = (batch.finalizing_at - batch.in_progress_at).total_seconds()
    return count / seconds


def _batch(base_url: str, count: int) -> object:
    from batches import files, services
    from webapp.accounts.models import User
    from webapp.backends import services as backends

    backend = backends.add_backend(name="bench", base_url=base_url)
    backends.add_model(backend=backend, name="m")
    user, _ = User.objects.get_or_create(username="bench")
    file = files.store(user=user, filename="bench.jsonl", purpose="batch", data=lines(count))
    return services.create(user=user, input_file=file, executor="local", concurrency=AT_ONCE)


def monitor_page() -> None:
    """Milliseconds of the monitor page of the batch that ran last."""
    from django.test import Client

    from batches.models import Batch

    batch = Batch.objects.latest("created_at")
    Batch.objects.filter(pk=batch.pk).update(status="in_progress")
    client = Client()
    client.force_login(batch.user)
    times = {"page": f"/batches/{batch.pk}/", "polled part": f"/batches/{batch.pk}/status/"}
    for what, path in times.items():
        client.get(path, headers={"host": "localhost"})
        began = time.perf_counter()
        for _ in range(5):
            assert client.get(path, headers={"host": "localhost"}).status_code == 200
        print(
            f"monitor {what} of a running batch of {batch.total:,} rows: {(time.perf_counter() - began) / 5 * 1000:.0f} ms (goal: 100 ms)"
        )


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    megabytes = int(sys.argv[2]) if len(sys.argv) > 2 else 190
    validation(megabytes)
    with tempfile.TemporaryDirectory() as home, instant_upstream() as base_url:
        _prepare_django(str(Path(home)))
        reference = asyncio.run(bare(base_url, rows))
        usual = asyncio.run(with_httpx(base_url, rows // 4))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rate = asyncio.run(ours(base_url, rows))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{rows:,} rows, {AT_ONCE} at once: {rate:,.0f} rows/s kept; raw connections {reference:,.0f}/s, httpx {usual:,.0f}/s")
        print(f"  {rate / reference:.2f}x of raw connections, {rate / usual:.2f}x of httpx (goal: 0.6x)")
        print(f"  peak memory {memory:.0f} MB, {before:.0f} MB of it before the run (goal: 300 MB)")
        monitor_page()


if __name__ == "__main__":
    main()
