"""Compare the gateway with direct requests to the same upstream and with the LiteLLM proxy: `python -m bench gateway`.

Every server runs as one process on one core, the upstream and the client on another. `PATCHBAY_BENCH_LITELLM` names a virtual
environment with `litellm[proxy]`. Without it, that column is missing. Ratios are from one run on one machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STREAMS, TOKENS = 64, 200
PACED, PACED_TOKENS, PACE, RAMP = 256, 100, 0.05, 2.5
SINGLE = 40
P99 = "p99 delay of a token (ms)"
START_SECONDS = 90
SETTLE_SECONDS = 10
"""Seconds to wait before measuring, so that start-up does not count."""
LITELLM = """
model_list:
  - model_name: m
    litellm_params: {model: openai/m, api_base: "http://127.0.0.1:%d/v1", api_key: none}
general_settings: {master_key: sk-bench}
"""
NATIVE = """
from webapp.backends.models import Backend
backend = Backend.objects.get(name="native")
backend.capabilities = {**backend.capabilities, "responses": True, "messages": True}
backend.save()
"""


@dataclass
class Target:
    """A server under test. `pid` is None for the upstream itself, the baseline."""

    name: str
    port: int
    token: str = "none"
    pid: int | None = None

    def cpu(self) -> float:
        """Return the CPU seconds used so far."""
        if self.pid is None:
            return 0.0
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Return the resident memory in MB."""
        if self.pid is None:
            return 0.0
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


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
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
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


@contextlib.contextmanager
def process(*command: str, core: int, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process on one core and stop it at the end."""
    running = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.sched_setaffinity(running.pid, {core})
    try:
        yield running
    finally:
        running.terminate()
        running.wait(15)


@contextlib.contextmanager
def patchbay(upstream: int, home: Path, core: int, server: str) -> Iterator[Target]:
    """Run Patchbay with `manage.py up`."""
    own = {"PATCHBAY_HOME": str(home), "PATCHBAY_DETECT": "0", "DJANGO_SUPERUSER_USERNAME": "bench", "DJANGO_SUPERUSER_PASSWORD": str(home)}
    env = {**os.environ, **own}
    port = free_port()
    with process(sys.executable, "manage.py", "up", "--port", str(port), "--server", server, core=core, env=env) as running:
        wait_for(port)
        manage(env, "add_backend", "--name", "bench", "--base-url", f"http://127.0.0.1:{upstream}/v1")
        manage(env, "add_route", "--name", "m", "--step", "bench/m")
        manage(env, "add_backend", "--name", "native", "--base-url", f"http://127.0.0.1:{upstream}/v1")
        manage(env, "shell", "-c", NATIVE)
        manage(env, "add_route", "--name", "n", "--step", "native/m")
        token = manage(env, "create_token", "--user", "bench")
        yield Target(f"patchbay ({server})", port, token, running.pid)


def manage(env: dict[str, str], *arguments: str) -> str:
    """Return the output of a management command."""
    done = subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def free_port() -> int:
    """Return a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until a process listens on the port."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port}")


@contextlib.contextmanager
def litellm(upstream: int, home: Path, core: int, venv: str) -> Iterator[Target]:
    """Run the LiteLLM proxy with one worker."""
    port, config = free_port(), home / "litellm.yaml"
    config.write_text(LITELLM % upstream)
    env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    command = [f"{venv}/bin/litellm", "--config", str(config), "--port", str(port), "--host", "127.0.0.1", "--num_workers", "1"]
    with process(*command, core=core, env=env) as running:
        yield Target("litellm", port, "sk-bench", running.pid)


async def ready(target: Target) -> None:
    """Wait until the server answers a request."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, RuntimeError):
            await ask(target, 1, 0)
            return
        await asyncio.sleep(0.2)
    raise RuntimeError(f"{target.name} does not answer")


async def later(seconds: float, work: Awaitable[Stream]) -> Stream:
    """Spread the starts over time, as users do."""
    await asyncio.sleep(seconds)
    return await work


def measure(target: Target) -> dict[str, float]:
    async def run() -> dict[str, float]:
        await ready(target)
        await asyncio.sleep(SETTLE_SECONDS if target.pid else 0)
        await asyncio.gather(*(ask(target, 5, 0) for _ in range(16)))
        return {**await single(target), **await saturated(target), **await protocols(target), **await paced(target)}

    print(f"measuring {target.name} …", file=sys.stderr)
    return asyncio.run(run())


def report(results: dict[str, dict[str, float]]) -> None:
    """Print one line per figure, with each server and its ratio to direct requests or to LiteLLM."""
    names = list(results)
    print(f"\n{'':40}" + "".join(f"{name:>22}" for name in names))
    for figure in results[names[1]]:
        cells = (f"{results[name][figure]:22,.2f}" if figure in results[name] else f"{'':22}" for name in names)
        print(f"{figure:40}" + "".join(cells))
    direct, ours = results["direct"], results[names[1]]
    print(f"\nadded first token: {ours['first token, 1 stream (ms)'] - direct['first token, 1 stream (ms)']:.2f} ms with one stream")
    late = ours[P99] - direct[P99]
    print(f"added p99 delay of a token: {late:.1f} ms with 256 paced streams")
    if "litellm" in results:
        theirs = results["litellm"]
        print(f"tokens/s: {ours['tokens/s, 64 streams'] / theirs['tokens/s, 64 streams']:.1f} times LiteLLM's")
        print(f"CPU a token: 1/{theirs['CPU ms / 1,000 tokens'] / ours['CPU ms / 1,000 tokens']:.1f} of LiteLLM's")
        added = [results[name]["first token, 1 stream (ms)"] - direct["first token, 1 stream (ms)"] for name in (names[1], "litellm")]
        print(f"added first token: {added[0]:.1f} ms against LiteLLM's {added[1]:.1f} ms")


def main() -> None:
    cores = sorted(os.sched_getaffinity(0))
    server_core, rest = cores[0], cores[-1]
    os.sched_setaffinity(0, {rest})
    port = free_port()
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, process(sys.executable, "-m", "bench.upstream", str(port), core=rest):
        results["direct"] = measure(Target("direct", port))
        for server in ("daphne", "uvicorn"):
            home = Path(folder) / server
            home.mkdir()
            with patchbay(port, home, server_core, server) as target:
                results[target.name] = measure(target)
        if venv := os.environ.get("PATCHBAY_BENCH_LITELLM"):
            with litellm(port, Path(folder), server_core, venv) as target:
                results["litellm"] = measure(target)
    report(results)


if __name__ == "__main__":
    main()
