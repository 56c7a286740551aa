"""Start the servers that the benchmarks compare: Patchbay, and peers that are installed on this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 300
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
    """A server under test. `pid` is None for the upstream itself, the baseline. `headers` go with each request."""

    name: str
    port: int
    token: str = "none"
    pid: int | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def cpu(self) -> float:
        """Return the CPU seconds used so far by the process, its threads, and its children."""
        return sum(map(_cpu_of, _family(self.pid))) if self.pid is not None else 0.0

    def cpu_by_process(self) -> dict[int, float]:
        """Return the CPU seconds of the process and of each of its children by process id."""
        return {pid: _cpu_of(pid) for pid in _family(self.pid)} if self.pid is not None else {}

    def memory(self) -> float:
        """Return the resident memory in MB."""
        pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _family(self.pid)) if self.pid is not None else ()
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _family(pid: int) -> list[int]:
    found = [pid]
    for member in found:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def _cpu_of(pid: int) -> float:
    """Return the CPU seconds of one process from the scheduler's counters, in nanoseconds: a clock tick is longer than ten requests."""
    try:
        return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
    except FileNotFoundError:  # a thread ended meanwhile
        return _cpu_of(pid)


@contextlib.contextmanager
def process(*command: str, core: int, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process with all its threads and children on one core, and stop it at the end."""
    bound = ["taskset", "--cpu-list", str(core), *command]
    running = subprocess.Popen(bound, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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


@contextlib.contextmanager
def litellm(upstream: int, home: Path, core: int, venv: str) -> Iterator[Target]:
    """Run the LiteLLM proxy with one worker."""
    port, config = free_port(), home / "litellm.yaml"
    config.write_text(LITELLM % upstream)
    env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    command = [f"{venv}/bin/litellm", "--config", str(config), "--port", str(port), "--host", "127.0.0.1", "--num_workers", "1"]
    with process(*command, core=core, env=env) as running:
        wait_for(port)
        yield Target("litellm", port, "sk-bench", running.pid)


@contextlib.contextmanager
def vllm_router(upstream: int, _home: Path, core: int, venv: str) -> Iterator[Target]:
    """Run vllm-router, the router of the vLLM project, which is written in Rust."""
    port, metrics = free_port(), free_port()
    command = [f"{venv}/bin/vllm-router", "--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(metrics)]
    command += ["--worker-urls", f"http://127.0.0.1:{upstream}", "--policy", "round_robin", "--log-level", "error"]
    with process(*command, core=core) as running:
        wait_for(port)
        yield Target("vllm-router", port, pid=running.pid)


@contextlib.contextmanager
def portkey(upstream: int, _home: Path, core: int, folder: str) -> Iterator[Target]:
    """Run the Portkey gateway with Node."""
    port = free_port()
    script = f"{folder}/node_modules/@portkey-ai/gateway/build/start-server.js"
    env = {**os.environ, "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}
    with process("node", script, "--headless", f"--port={port}", core=core, env=env) as running:
        wait_for(port)
        headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1"}
        yield Target("portkey", port, pid=running.pid, headers=headers)


def peers(upstream: int, home: Path, core: int) -> Iterator[AbstractContextManager[Target]]:
    """Yield a context for each peer whose place an environment variable names."""
    for variable, start in (
        ("PATCHBAY_BENCH_VLLM_ROUTER", vllm_router),
        ("PATCHBAY_BENCH_PORTKEY", portkey),
        ("PATCHBAY_BENCH_LITELLM", litellm),
    ):
        if place := os.environ.get(variable):
            yield start(upstream, home, core, place)


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
