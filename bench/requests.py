"""Load a server with whole short answers, bursts after silence, and long prompts, over connections that stay open."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass, field

from bench.servers import Target

CONNECTIONS = (1, 32, 256)
SECONDS = 4.0
BURST = 256
SILENCE = 3.2
"""Seconds without requests before a burst: caches of a gateway that last for seconds are stale by then."""
LONG_CONNECTIONS, LONG_SECONDS = 8, 6.0
WORDS = "The quick brown fox jumps over the lazy dog near the river bank, and a cat looks on from the old stone wall. "
LONG_CHARACTERS = 330_000
"""About 75,000 tokens."""
_LENGTH = re.compile(rb"(?i)content-length: *(\d+)")


@dataclass
class Load:
    """The measurements of one load. `times` are the seconds from a request to the end of its answer."""

    seconds: float = 0.0
    cpu: float = 0.0
    failed: int = 0
    times: list[float] = field(default_factory=list)

    def figures(self, name: str) -> dict[str, float]:
        """Return rate, percentiles, and CPU by name."""
        if self.failed or not self.times:
            return {f"{name}: failed": float(self.failed)}
        ordered, count = sorted(self.times), len(self.times)
        figures = {
            f"{name}: requests/s": count / self.seconds,
            f"{name}: p50 (ms)": ordered[count // 2] * 1000,
            f"{name}: p99 (ms)": ordered[int(count * 0.99)] * 1000,
        }
        return figures | ({f"{name}: CPU (ms each)": self.cpu / count * 1000} if self.cpu else {})


class Client(asyncio.Protocol):
    """One connection, which sends the next request when the answer to the last one is complete."""

    def __init__(self, bodies: list[bytes], load: Load, until: float, done: asyncio.Future[None]) -> None:
        self._requests, self._load, self._until, self._done = bodies, load, until, done
        self._sent = 0
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self) -> None:
        """Send the next request."""
        self._began, self._answer = time.perf_counter(), b""
        self._transport.write(self._requests[self._sent % len(self._requests)])
        self._sent += 1

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not is_complete(self._answer):
            return
        now = time.perf_counter()
        if self._answer.startswith(b"HTTP/1.1 200"):
            self._load.times.append(now - self._began)
        else:
            self._load.failed += 1
        if now < self._until:
            self.send()
        elif not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self._done.done():
            self._load.failed += 1
            self._done.set_result(None)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


def is_complete(answer: bytes) -> bool:
    """Return whether an HTTP response is complete."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = _LENGTH.search(answer, 0, end)
    return len(answer) >= end + 4 + int(length[1]) if length else answer.endswith(b"0\r\n\r\n")


def request(target: Target, *, content: str, stream: bool = False) -> bytes:
    """Return the bytes of a request for a chat completion."""
    body = {"model": "m", "messages": [{"role": "user", "content": content}], "max_tokens": 5, **({"stream": True} if stream else {})}
    raw = json.dumps(body).encode()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: localhost",
        f"authorization: Bearer {target.token}",
        "content-type: application/json",
        f"content-length: {len(raw)}",
        *(f"{name}: {value}" for name, value in target.headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + raw


async def run(target: Target, requests: list[bytes], connections: int, seconds: float, *, silence: float = 0.0) -> Load:
    """Send requests over some connections for some seconds. Every connection sends at least one, after `silence` seconds."""
    loop, load = asyncio.get_running_loop(), Load()
    until, ends, clients = time.perf_counter() + silence + seconds, [], []
    for _ in range(connections):
        ends.append(loop.create_future())
        _, client = await loop.create_connection(lambda: Client(requests, load, until, ends[-1]), "127.0.0.1", target.port)
        clients.append(client)
    await asyncio.sleep(silence)
    cpu, began = target.cpu(), time.perf_counter()
    for client in clients:
        client.send()
    await asyncio.gather(*ends)
    load.seconds, load.cpu = time.perf_counter() - began, target.cpu() - cpu
    for client in clients:
        client.close()
    return load


async def short(target: Target) -> dict[str, float]:
    """Measure whole short answers at several numbers of connections, and a burst after a silence."""
    asked = [request(target, content="hi")]
    found: dict[str, float] = {}
    for connections in CONNECTIONS:
        found |= (await run(target, asked, connections, SECONDS)).figures(f"short, {connections} connections")
    burst = await run(target, asked, BURST, 0.0, silence=SILENCE)
    return found | burst.figures(f"{BURST} at once after {SILENCE:g} s")


async def long(target: Target) -> dict[str, float]:
    """Measure prompts of about 75,000 tokens, every other answer streamed."""
    content = (WORDS * (LONG_CHARACTERS // len(WORDS) + 1))[:LONG_CHARACTERS]
    asked = [request(target, content=content, stream=stream) for stream in (False, True)]
    return (await run(target, asked, LONG_CONNECTIONS, LONG_SECONDS)).figures(f"long, {LONG_CONNECTIONS} connections")
