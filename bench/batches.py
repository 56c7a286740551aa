"""Measure batches: validation, rows per second against a bare semaphore that stores nothing, memory, the monitor page.

    python -m bench batches [rows] [megabytes]

The references send the same requests, 64 at a time, and store nothing: over aiohttp (if installed) and httpx2, as most people would write
it; over our own connections, which the runner uses; and prepared bytes on 64 plain sockets, the minimum in Python. The runner does the
whole work: it reads each request from the file, resolves its route, and stores the answer durably with counts and attempts. It may be
killed at any moment. It runs in a separate process, so that its memory can be measured.
"""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.instant import instant_upstream
from webapp.patterns.types import Json

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
    from webapp.patterns.batch.input_file import request_line

    for number in range(count):
        messages = [{"role": "user", "content": f"Question {number} " + "lorem ipsum " * (padding // 12)}]
        yield request_line(f"row-{number}", {"model": "bench/m", "messages": messages}, endpoint=CHAT)


def validation(megabytes: int) -> None:
    """Measure MB/s of `patterns.batch.validate` against reading the same lines with the standard library's json."""
    from webapp.patterns.batch.input_file import validate

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
    """Measure rows per second of a semaphore over raw HTTP that stores nothing."""
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


Post = Callable[[Json], Awaitable[Any]]
"""Send one body and return the decoded answer."""


async def with_semaphore(post: Post, count: int) -> float:
    """Measure requests per second of the usual code: a semaphore around each request, all gathered."""
    semaphore = asyncio.Semaphore(AT_ONCE)

    async def ask(number: int) -> None:
        async with semaphore:
            await post({"model": "m", "messages": [{"role": "user", "content": f"Question {number}"}]})

    began = time.perf_counter()
    await asyncio.gather(*(ask(number) for number in range(count)))
    return count / (time.perf_counter() - began)


async def with_httpx(base_url: str, count: int) -> float:
    import httpx2

    async with httpx2.AsyncClient(base_url=base_url) as client:

        async def post(body: Json) -> Any:
            return (await client.post("/chat/completions", json=body)).json()

        return await with_semaphore(post, count)


async def with_aiohttp(base_url: str, count: int) -> float:
    aiohttp = importlib.import_module("aiohttp")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as client:

        async def post(body: Json) -> Any:
            async with client.post(f"{base_url}/chat/completions", json=body) as response:
                return await response.json()

        return await with_semaphore(post, count)


async def with_our_connections(base_url: str, count: int) -> float:
    from webapp.patterns.openai.backend import OpenAIBackend
    from webapp.patterns.types import Request

    backend = OpenAIBackend("bench", base_url)

    async def post(body: Json) -> Any:
        return (await backend.send(Request(body))).body

    await post({"model": "m", "messages": [{"role": "user", "content": "Load what is loaded once."}]})
    rate = await with_semaphore(post, count)
    await backend.aclose()
    return rate


async def ours(base_url: str, count: int) -> float:
    """Measure rows per second of the embedded runner, from the first request to the last stored answer, after a small warm-up batch."""
    from batches.execution.runner import Runner
    from webapp.backends.runtime import registry
    from webapp.server import gc_tuning

    runner = Runner()
    task = asyncio.create_task(runner.run())
    await _run(base_url, 100)
    async with gc_tuning.service(0.0):  # as the server does once it has settled
        batch = await _run(base_url, count)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await runner.aclose()
    await registry.aclose()
    seconds: float = (batch.finalizing_at - batch.in_progress_at).total_seconds()
    return count / seconds


async def _run(base_url: str, rows: int) -> Any:
    """Run a batch and return it when it has ended."""
    from webapp.core.database import in_database  # it needs Django's settings

    batch: Any = await in_database(_batch, base_url, rows)
    while batch.is_active:
        await asyncio.sleep(1)
        await batch.arefresh_from_db()
    assert (batch.status, batch.completed) == ("completed", rows), (batch.status, batch.completed, batch.failed)
    return batch


def _batch(base_url: str, count: int) -> Any:
    from batches import services
    from batches.input import files
    from webapp.accounts.models import User
    from webapp.backends import services as backends

    backend = backends.add_backend(name="bench", base_url=base_url)
    if not backend.offered.exists():
        backends.add_model(backend=backend, name="m")
    user, _ = User.objects.get_or_create(username="bench")
    file = files.store(user=user, filename="bench.jsonl", purpose="batch", data=lines(count))
    return services.create_batch(user=user, input_file=file, executor="local", concurrency=AT_ONCE)


def monitor_page() -> None:
    """Measure milliseconds of the monitor page of the last batch."""
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


def run_here(home: str, base_url: str, rows: int) -> None:
    """Run a batch and its page in the measured process."""
    _prepare_django(home)
    rate = asyncio.run(ours(base_url, rows))
    print(f"{rows:,} rows, {AT_ONCE} at once: {rate:,.0f} rows/s kept, peak memory {peak_memory():.0f} MB (goal: 300 MB)")
    monitor_page()
    print(rate)


def peak_memory() -> float:
    """Return the peak memory of this process in MB. `ru_maxrss` would start at the parent's value."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measured(base_url: str, rows: int) -> float:
    """Measure the runner's rows per second in a separate process."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "bench.batches", "run", home, base_url, str(rows)]
        *told, rate = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    print(*told, sep="\n")
    return float(rate)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    megabytes = int(sys.argv[2]) if len(sys.argv) > 2 else 190
    validation(megabytes)
    with instant_upstream() as base_url:
        rate = measured(base_url, rows)
        references = {"httpx2": with_httpx, "our own connections": with_our_connections, "plain sockets": bare}
        if importlib.util.find_spec("aiohttp"):
            references = {"aiohttp": with_aiohttp, **references}
        for name, reference in references.items():
            theirs = asyncio.run(reference(base_url, rows // 5))
            print(f"  {rate / theirs:.2f}x of a bare semaphore over {name}, which keeps nothing: {theirs:,.0f}/s (goal: 0.6x)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run_here(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
