"""Measure the chat's websocket path: one process, with event log and Markdown, real browser frames over real sockets.

    python -m bench chat [streams] [seconds]

Figures, with the references measured on the same kind of machine (Chainlit 2.12, Open WebUI 0.12.4):
first frame after the upstream's first token (one stream); 64 and 256 people who ask within one second, from the moment of asking, and the
CPU of a question; delay of frames behind the upstream's chunks with 256 streams at 20 tokens/s; tokens per second of 64 unthrottled
streams; memory.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import django
import websockets

from bench.servers import Target

if TYPE_CHECKING:
    from tests.live import Live

STAMP = re.compile(r"t(\d+\.\d{4})e")
PACE = 0.05
FRAME_MS = 16.0
ASKED_TOKENS = 80
QUIET_SECONDS = 2.0
SETTLED = 0.5
"""Seconds after the last stream's first frame: the frames from then on count. All begin in the same moment, which is told apart."""
CHAINLIT = {"first": 10.0, "p99": 3100.0, "rate": 2300.0}


def token(number: int) -> str:
    """Return a word of an answer that carries its send time, with some Markdown and paragraphs."""
    stamp = f"t{time.monotonic():.4f}e"
    word = f"**bold** {stamp} " if number % 15 == 7 else f"{stamp} "
    return word + ("\n\n" if number % 60 == 59 else "")


Token = Callable[[int], str]


async def _answer(token: Token, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as the question says: `tokens pace`."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        body = json.loads(await reader.readexactly(int(found[1]))) if found else None
        if body is None or not body.get("stream"):
            await _whole(writer, models=body is None)
            continue
        count, pace = body["messages"][-1]["content"].split()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        await _speak(writer, token, int(count), float(pace))


async def _whole(writer: asyncio.StreamWriter, *, models: bool) -> None:
    title = {"choices": [{"index": 0, "message": {"role": "assistant", "content": '{"title": "A title"}'}, "finish_reason": "stop"}]}
    raw = json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]} if models else title).encode()
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(raw), raw))
    await writer.drain()


async def _speak(writer: asyncio.StreamWriter, token: Token, count: int, pace: float) -> None:
    due = time.monotonic()
    for number in range(count):
        _event(writer, {"content": token(number)}, None)
        if pace:
            due += pace
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        elif number % 20 == 19:
            await writer.drain()
    _event(writer, {}, "stop")
    writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    await writer.drain()


def _event(writer: asyncio.StreamWriter, delta: dict[str, str], finish: str | None) -> None:
    data = b"data: %b\n\n" % json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode()
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def upstream(port: int, token: Token) -> None:
    """Run the upstream in its own process."""

    async def serve() -> None:
        server = await asyncio.start_server(partial(_answer, token), "127.0.0.1", port, backlog=512)
        await server.serve_forever()

    asyncio.run(serve())


@dataclass
class Watched:
    """The observations of one client."""

    delays: list[float] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    asked: float = 0.0
    done: bool = False
    text: str = ""


async def converse(live: Live, cookie: str, count: int, pace: float) -> Watched:
    """Open a socket, ask a question, and watch until the answer is complete."""
    async with opened(live, cookie) as socket:
        return await ask(socket, count, pace)


def opened(live: Live, cookie: str) -> websockets.connect:
    """Return a socket of a new conversation."""
    url = f"{live.url.replace('http', 'ws')}/ws/chat/{uuid.uuid4()}/"
    return websockets.connect(url, origin=live.url, additional_headers={"Cookie": cookie}, compression=None, max_size=None)  # type: ignore[arg-type]  # a plain string is an origin


async def ask(socket: websockets.ClientConnection, count: int, pace: float) -> Watched:
    """Ask a question and watch until the answer is complete."""
    watched, newest = Watched(asked=time.monotonic()), 0.0
    await socket.send(json.dumps({"body": {"action": "send", "text": f"{count} {pace}"}}))
    async for raw in socket:
        now = time.monotonic()
        if b'data-status=\\"done\\"' in (raw.encode() if isinstance(raw, str) else raw):
            watched.done, watched.text = True, str(raw)
            return watched
        for stamp in map(float, STAMP.findall(str(raw))):
            if stamp > newest:
                newest = stamp
                watched.delays.append((now - stamp) * 1000)
                watched.at.append(now)
    return watched


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@asynccontextmanager
async def product(token: Token = token) -> AsyncGenerator[tuple[Live, str], None]:
    """Run a server with one backend, whose answers consist of `token`, and one user; yield the cookie."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from tests.live import MAKE_CAST, PREPARE, Live, free_port

    with tempfile.TemporaryDirectory() as home:
        live, port = Live(Path(home)), free_port()
        process = multiprocessing.get_context("spawn").Process(target=upstream, args=(port, token), daemon=True)
        process.start()
        for code in (PREPARE, MAKE_CAST):
            live.run_python(code)
        live.manage("add_backend", "--name", "up", "--base-url", f"http://127.0.0.1:{port}/v1")
        live.manage("add_route", "--name", "default", "--step", "up/m")
        live.start()
        try:
            client = live.sign_in("owner")
            yield live, "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        finally:
            live.stop()
            process.terminate()


def report(what: str, value: float, unit: str, reference: float) -> None:
    """Print a figure and its ratio to Chainlit's."""
    print(f"{what}: {value:,.1f} {unit} (Chainlit {reference:,.0f}: x{value / reference:.2f})", flush=True)


def whole(seen: Sequence[object], tokens: int) -> list[Watched]:
    """Return the number of clients whose final answer has every token once."""
    return [one for one in seen if isinstance(one, Watched) and one.done and len(STAMP.findall(one.text)) == tokens]


async def paced(live: Live, cookie: str, streams: int, seconds: int) -> None:
    """Measure many streams that start at once. Frames count after the ramp."""
    idle, began, tokens = live.memory_mb(), time.monotonic(), int(seconds / PACE)
    tasks = [asyncio.ensure_future(converse(live, cookie, tokens, PACE)) for _ in range(streams)]
    await asyncio.sleep(seconds * 0.7)
    grown = live.memory_mb() - idle
    good = whole(await asyncio.gather(*tasks, return_exceptions=True), tokens)
    settled = max(one.at[0] for one in good) + SETTLED
    late = [delay for one in good for at, delay in zip(one.at, one.delays, strict=True) if at > settled]
    print(f"{streams} streams at {1 / PACE:.0f} tokens/s: {streams - len(good)} failed; aim: p99 within {FRAME_MS + 50:.0f} ms")
    print(f"  begun at once: the last one speaks after {settled - SETTLED - began:.1f} s")
    report("  frame behind chunk, median", median(late), "ms", CHAINLIT["p99"])
    report("  frame behind chunk, p99", percentile(late, 0.99), "ms", CHAINLIT["p99"])
    print(f"  memory: idle {idle:.0f} MB, the live streams add {grown:.0f} MB", flush=True)


async def asking(live: Live, cookie: str, people: int) -> None:
    """Measure people who ask within one second over sockets that are open, from the moment of asking to the last token."""
    assert live.process is not None
    server = Target("patchbay", live.port, pid=live.process.pid)

    async def one(socket: websockets.ClientConnection, number: int) -> Watched:
        await asyncio.sleep(number / people)
        return await ask(socket, ASKED_TOKENS, PACE)

    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(opened(live, cookie)) for _ in range(people)]
        await asyncio.sleep(QUIET_SECONDS)
        cpu = server.cpu()
        seen = await asyncio.gather(*map(one, sockets, range(people)), return_exceptions=True)
        await asyncio.sleep(QUIET_SECONDS)  # titles and attempts are written after the answer
        cpu = server.cpu() - cpu
    good = whole(seen, ASKED_TOKENS)
    firsts, late = [(one.at[0] - one.asked) * 1000 for one in good], [delay for one in good for delay in one.delays]
    print(f"{people} questions within one second: {people - len(good)} failed; {cpu / people * 1000:.1f} ms of CPU each")
    print(f"  first frame with a token after asking: median {median(firsts):.0f} ms, p99 {percentile(firsts, 0.99):.0f} ms")
    print(f"  token behind the upstream, from the first on: median {median(late):.0f} ms, p99 {percentile(late, 0.99):.0f} ms", flush=True)


async def unthrottled(live: Live, cookie: str, streams: int = 64, tokens: int = 1000) -> None:
    began = time.monotonic()
    seen = await asyncio.gather(*(converse(live, cookie, tokens, 0) for _ in range(streams)), return_exceptions=True)
    rate = streams * tokens / (time.monotonic() - began)
    print(f"{streams} unthrottled streams: {streams - len(whole(seen, tokens))} incomplete")
    report("  rate", rate, "tokens/s", CHAINLIT["rate"])


async def measure(streams: int, seconds: int) -> None:
    async with product() as (live, cookie):
        await converse(live, cookie, 20, 0)
        firsts = [(await converse(live, cookie, 5, PACE)).delays[0] for _ in range(20)]
        report("first frame, one stream, median", median(firsts), "ms", CHAINLIT["first"])
        for people in (64, 256):
            await asking(live, cookie, people)
        await paced(live, cookie, streams, seconds)
        await unthrottled(live, cookie)


def main() -> None:
    streams, seconds = (int(value) for value in [*sys.argv[1:3], *["256", "8"][len(sys.argv) - 1 :]])
    asyncio.run(measure(streams, seconds))


if __name__ == "__main__":
    main()
