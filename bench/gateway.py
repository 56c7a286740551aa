"""Compare the gateway with direct requests to the same upstream and with peers: `python -m bench gateway [short] [long] [streams]`.

Loads: whole short answers at 1, 32, and 256 connections; 256 requests at once after three silent seconds; prompts of 75,000 tokens, half
of them streamed; streams. Without arguments all are run.

Every server runs as one process on one core, the upstream and the client on another. Peers run where a variable names their place:
`PATCHBAY_BENCH_VLLM_ROUTER` and `PATCHBAY_BENCH_LITELLM` a virtual environment with `vllm-router` or `litellm[proxy]`,
`PATCHBAY_BENCH_PORTKEY` a folder with npm's `@portkey-ai/gateway`. Ratios are from one run on one machine: compare those.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from pathlib import Path

from bench import requests
from bench.servers import START_SECONDS, Target, free_port, patchbay, peers, process, wait_for

STREAMS, TOKENS = 64, 200
PACED, PACED_TOKENS, PACE, RAMP = 256, 100, 0.05, 2.5
SINGLE = 40
P99 = "p99 delay of a token (ms)"
SETTLE_SECONDS = 10
"""Seconds to wait before measuring, so that start-up does not count."""


@dataclass
class Stream:
    """The measurements of one stream, in seconds. `delays` are from the upstream's write to the client's read of each token."""

    first: float
    delays: list[float]


@dataclass(frozen=True)
class Wire:
    """A protocol: its path, the body's own fields, the name of the number of tokens, and how tokens and the end look."""

    path: str
    body: dict[str, object]
    limit: str
    content: bytes
    end: bytes


CHAT = Wire(
    "chat/completions", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}, "max_tokens", b'"content":"', b"data: [DONE]"
)
TRANSLATED = Wire(
    "responses", {"model": "m", "input": "hi", "store": False}, "max_output_tokens", b'"delta":"', b"event: response.completed"
)
PASSED = replace(TRANSLATED, body={**TRANSLATED.body, "model": "n"})
"""The same through a backend that speaks Responses itself."""
MESSAGES = Wire(
    "messages", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}, "max_tokens", b'"text":"', b"event: message_stop"
)
MESSAGES_PASSED = replace(MESSAGES, body={**MESSAGES.body, "model": "n"})
"""The same through a backend that speaks Messages itself."""
PROTOCOLS = {
    "chat": CHAT,
    "responses translated": TRANSLATED,
    "responses passed on": PASSED,
    "messages translated": MESSAGES,
    "messages passed on": MESSAGES_PASSED,
}


async def ask(target: Target, tokens: int, pace: float, wire: Wire = CHAT) -> Stream:
    """Run one stream over its own connection."""
    body = json.dumps({**wire.body, "stream": True, wire.limit: tokens, "user": str(pace)}).encode()
    head = (
        f"POST /v1/{wire.path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {target.token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in target.headers.items())
        + "\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    began = time.monotonic()
    writer.write(head.encode() + body)
    first, delays = 0.0, []
    async for line in reader:
        start = line.find(wire.content) + len(wire.content)
        if start >= len(wire.content) and line[start : start + 1].isdigit():
            now = time.monotonic_ns()
            delays.append((now - int(line[start : line.index(b" ", start)])) / 1e9)
            first = first or now / 1e9 - began
        elif line.startswith(wire.end):
            break
    writer.close()
    if len(delays) != tokens:
        raise RuntimeError(f"{target.name}: {len(delays)} of {tokens} tokens came")
    return Stream(first, delays)


async def single(target: Target) -> dict[str, float]:
    """Measure the first token with one stream at a time."""
    firsts = [(await ask(target, 3, 0)).first for _ in range(SINGLE)]
    return {"first token, 1 stream (ms)": statistics.median(firsts[5:]) * 1000}


async def saturated(target: Target) -> dict[str, float]:
    """Measure the highest throughput in tokens."""
    cpu, began = target.cpu(), time.monotonic()
    await asyncio.gather(*(ask(target, TOKENS, 0) for _ in range(STREAMS)))
    wall, total = time.monotonic() - began, STREAMS * TOKENS
    return {"tokens/s, 64 streams": total / wall, "CPU ms / 1,000 tokens": (target.cpu() - cpu) / total * 1e6}


async def protocols(target: Target) -> dict[str, float]:
    """Measure the cost of Responses and Messages streams beside that of chat streams, translated and passed on."""
    if not target.name.startswith("patchbay"):
        return {}
    found: dict[str, float] = {}
    for name, wire in PROTOCOLS.items():
        cpu = target.cpu()
        await asyncio.gather(*(ask(target, TOKENS, 0, wire) for _ in range(STREAMS)))
        found[f"CPU ms / 1,000 tokens, {name}"] = (target.cpu() - cpu) / (STREAMS * TOKENS) * 1e6
    return found


async def paced(target: Target) -> dict[str, float]:
    """Measure the delay of tokens at a steady pace."""
    streams = await asyncio.gather(*(later(number * RAMP / PACED, ask(target, PACED_TOKENS, PACE)) for number in range(PACED)))
    delays = sorted(delay for stream in streams for delay in stream.delays[1:])
    firsts = sorted(stream.first for stream in streams)
    return {
        "first token, 256 streams at 20/s (ms)": statistics.median(firsts) * 1000,
        P99: delays[int(len(delays) * 0.99)] * 1000,
        "memory (MB)": target.memory(),
    }


async def ready(target: Target) -> None:
    """Wait until the server answers a request."""
    asked, deadline = [requests.request(target, content="hi")], time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            load = await requests.run(target, asked, 1, 0.0)
            if load.times:
                return
        await asyncio.sleep(0.5)
    raise RuntimeError(f"{target.name} does not answer")


async def later(seconds: float, work: Awaitable[Stream]) -> Stream:
    """Spread the starts over time, as users do."""
    await asyncio.sleep(seconds)
    return await work


async def streams(target: Target) -> dict[str, float]:
    """Measure streams: the first token, the throughput, the protocols, and the delay at a steady pace."""
    await asyncio.gather(*(ask(target, 5, 0) for _ in range(16)))
    return {**await single(target), **await saturated(target), **await protocols(target), **await paced(target)}


LOADS = {"short": requests.short, "long": requests.long, "streams": streams}


def measure(target: Target, loads: list[str]) -> dict[str, float]:
    """Return the figures of one server. A load that fails leaves out its figures: some peers do not stream over a custom host."""

    async def run() -> dict[str, float]:
        await ready(target)
        await asyncio.sleep(SETTLE_SECONDS if target.pid else 0)
        found: dict[str, float] = {}
        for load in loads:
            try:
                found |= await LOADS[load](target)
            except (RuntimeError, ConnectionError) as error:
                print(f"{target.name}: {load} failed: {error}", file=sys.stderr)
        return found

    print(f"measuring {target.name} …", file=sys.stderr)
    return asyncio.run(run())


def report(results: dict[str, dict[str, float]]) -> None:
    """Print one line per figure with each server, and after it the ratio of the default server to each peer."""
    names = list(results)
    ours = next(name for name in names if name.startswith("patchbay"))
    width = 46
    print(f"\n{'':{width}}" + "".join(f"{name:>20}" for name in names))
    for figure in dict.fromkeys(figure for found in results.values() for figure in found):
        cells = (f"{results[name][figure]:20,.2f}" if figure in results[name] else f"{'':20}" for name in names)
        print(f"{figure:{width}}" + "".join(cells))
    for peer in [name for name in names if not name.startswith(("patchbay", "direct"))]:
        shared = [figure for figure in results[peer] if results[ours].get(figure) and results[peer][figure]]
        print(f"\n{ours} in relation to {peer}")
        for figure in shared:
            print(f"  {figure:{width}}{results[ours][figure] / results[peer][figure]:8.2f} times")


def main() -> None:
    loads = sys.argv[1:] or list(LOADS)
    if unknown := set(loads) - set(LOADS):
        raise SystemExit(f"No load named {', '.join(unknown)}. There are: {', '.join(LOADS)}.")
    cores = sorted(os.sched_getaffinity(0))
    server_core, rest = cores[0], cores[-1]
    os.sched_setaffinity(0, {rest})
    port = free_port()
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, process(sys.executable, "-m", "bench.upstream", str(port), core=rest):
        wait_for(port)
        results["direct"] = measure(Target("direct", port), loads)
        for server in ("daphne", "uvicorn"):
            home = Path(folder) / server
            home.mkdir()
            with patchbay(port, home, server_core, server) as target:
                results[target.name] = measure(target, loads)
        for peer in peers(port, Path(folder), server_core):
            with peer as target:
                results[target.name] = measure(target, loads)
    report(results)


if __name__ == "__main__":
    main()
