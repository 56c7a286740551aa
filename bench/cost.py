"""Measure the server process: CPU per token and batch row, memory per live stream and open page, rows in the database.

    python -m bench cost [streams] [rows]

These are the figures of docs/scale.md. They come from /proc and exclude the clients and the upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import uuid
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import websockets
from websockets.typing import Origin

from bench.chat import PACE, converse, product, whole

if TYPE_CHECKING:
    from tests.live import Live

SECONDS = 12
TICKS = os.sysconf("SC_CLK_TCK")
CHAT = "/v1/chat/completions"


def cpu_ms(live: Live) -> float:
    """Return the milliseconds of CPU that all threads of the server have used so far."""
    assert live.process
    fields = Path(f"/proc/{live.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS * 1000


async def cost_of(live: Live, work: Awaitable[object]) -> float:
    """Return the milliseconds of CPU that the server used during `work`."""
    before = cpu_ms(live)
    await work
    return cpu_ms(live) - before


def query(live: Live, statement: str) -> float:
    """Return one number from the database."""
    with contextlib.closing(sqlite3.connect(f"file:{live.home}/patchbay.sqlite3?mode=ro", uri=True)) as database:
        return float(database.execute(statement).fetchone()[0] or 0)


def stored(live: Live) -> float:
    """Return the bytes of the database and the files."""
    files = sum(path.stat().st_size for path in (live.home / "files").rglob("*") if path.is_file())
    return files + query(live, "PRAGMA page_count") * query(live, "PRAGMA page_size")


async def idle(live: Live) -> None:
    used = await cost_of(live, asyncio.sleep(10))
    print(f"idle: {live.memory_mb():.0f} MB, {used / 100:.1f} % of a core", flush=True)


async def open_pages(live: Live, cookie: str, count: int) -> None:
    """Measure sockets of idle conversations."""
    address, before = f"{live.url.replace('http', 'ws')}/ws/chat/", live.memory_mb()
    origin, headers = Origin(live.url), {"Cookie": cookie}
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            socket = websockets.connect(f"{address}{uuid.uuid4()}/", origin=origin, additional_headers=headers, compression=None)
            await stack.enter_async_context(socket)
        used = await cost_of(live, asyncio.sleep(10))
        grown = (live.memory_mb() - before) * 1000 / count
        print(f"{count} open pages: {grown:.0f} KB each, together {used / 100:.1f} % of a core", flush=True)


async def chats(live: Live, cookie: str, streams: int, pace: float) -> None:
    """Measure streams over the websocket: log, Markdown, and frames."""
    tokens, before = int(SECONDS / (pace or PACE)), live.memory_mb()
    tasks = [asyncio.ensure_future(converse(live, cookie, tokens, pace)) for _ in range(streams)]
    seen = asyncio.gather(*tasks)

    async def watched() -> None:
        if pace:
            await asyncio.sleep(SECONDS * 0.8)
            rows = query(live, "SELECT count(*) FROM chat_logrow") / streams / SECONDS / 0.8
            print(f"  {(live.memory_mb() - before) * 1000 / streams:.0f} KB a live stream, {rows:.1f} rows of the log a second each")
        await seen

    print(f"{streams} chats at {f'{1 / pace:.0f} tokens/s' if pace else 'full speed'}:", flush=True)
    used = await cost_of(live, watched())
    assert len(whole(seen.result(), tokens)) == streams
    print(f"  {used / streams / tokens * 1000:.0f} ms of CPU for 1,000 tokens", flush=True)


async def relayed(live: Live, token: str, tokens: int, pace: float) -> int:
    """Return the number of tokens that one gateway stream delivered."""
    body = json.dumps({"model": "default", "stream": True, "messages": [{"role": "user", "content": f"{tokens} {pace}"}]}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\n"
    reader, writer = await asyncio.open_connection("localhost", live.port)
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    came = 0
    while data := await reader.read(2**16):
        came += data.count(b'"content"')
    writer.close()
    return came


async def calls(live: Live, token: str, streams: int, pace: float) -> None:
    """Measure streams of the gateway."""
    tokens, before = int(SECONDS / (pace or PACE)), live.memory_mb()
    came = asyncio.gather(*(asyncio.ensure_future(relayed(live, token, tokens, pace)) for _ in range(streams)))

    async def watched() -> None:
        if pace:
            await asyncio.sleep(SECONDS * 0.8)
            print(f"  {(live.memory_mb() - before) * 1000 / streams:.0f} KB a live stream")
        await came

    print(f"{streams} gateway streams at {f'{1 / pace:.0f} tokens/s' if pace else 'full speed'}:", flush=True)
    used = await cost_of(live, watched())
    assert came.result() == [tokens] * streams
    print(f"  {used / streams / tokens * 1000:.0f} ms of CPU for 1,000 tokens", flush=True)


async def requests(live: Live, token: str, count: int = 1000) -> None:
    """Measure short complete answers of the gateway, one after the other on ten connections: the cost of a request."""
    body = {"model": "default", "messages": [{"role": "user", "content": "1 0"}]}
    async with httpx2.AsyncClient(base_url=live.url, headers={"Authorization": f"Bearer {token}"}) as client:

        async def some() -> None:
            for _ in range(count // 10):
                assert (await client.post(CHAT, json=body)).status_code == 200

        used = await cost_of(live, asyncio.gather(*(some() for _ in range(10))))
    print(f"{count} whole answers of the gateway: {used / count:.1f} ms of CPU each", flush=True)


BATCH = """
from batches.input import files; from batches import services
from webapp.accounts.models import User
from webapp.patterns.batch.input_file import request_line
user = User.objects.get(username="owner")
body = {{"model": "default", "messages": [{{"role": "user", "content": "1 0"}}]}}
data = (request_line(f"row-{{number}}", body, endpoint="{chat}") for number in range({rows}))
file = files.store(user=user, filename="bench.jsonl", purpose="batch", data=data)
services.create_batch(user=user, input_file=file, executor="local")
"""


async def batch(live: Live, rows: int) -> None:
    """Measure a batch that the server runs itself."""
    before, used = stored(live), cpu_ms(live)
    await asyncio.to_thread(live.run_python, BATCH.format(chat=CHAT, rows=rows))
    while not query(live, "SELECT count(*) FROM batches_batch WHERE status = 'completed'"):  # noqa: ASYNC110 - the database has no event
        await asyncio.sleep(0.2)
    assert query(live, "SELECT count(*) FROM batches_batchrow WHERE state = 1") == rows
    used, kept = cpu_ms(live) - used, stored(live) - before
    print(f"batch of {rows:,} rows: {used / rows:.2f} ms of CPU and {kept / rows:.0f} bytes a row", flush=True)


async def measure(streams: int, rows: int) -> None:
    async with product() as (live, cookie):
        token = live.manage("create_token", "--user", "owner").stdout.strip()
        await converse(live, cookie, 20, 0)
        await relayed(live, token, 20, 0)
        await idle(live)
        await open_pages(live, cookie, streams)
        for pace in (PACE, 0.0):
            await chats(live, cookie, streams, pace)
            await calls(live, token, streams, pace)
        await requests(live, token)
        await batch(live, rows)


def main() -> None:
    streams, rows = (int(value) for value in [*sys.argv[1:3], *["100", "5000"][len(sys.argv) - 1 :]])
    asyncio.run(measure(streams, rows))


if __name__ == "__main__":
    main()
