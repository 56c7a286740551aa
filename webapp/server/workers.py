"""Serve with several processes of one machine that share the port (`manage.py up --workers N`)."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

from django.conf import settings

logger = logging.getLogger("patchbay.server")

STOP_SECONDS: Final = 4.5
"""How long the workers may take to stop before they are killed."""
RESTART_SECONDS: Final = 1.0
"""The pause before a worker that ended by itself is started again."""
START_SECONDS: Final = 60.0


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a bound socket of the port, which other processes may bind as well: the kernel spreads connections among them.

    Raises:
        OSError: the port is in use by something else, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        opened.bind((host, port))
    except OSError:
        opened.close()
        raise
    opened.set_inheritable(True)
    return opened


class Supervisor:
    """Start the workers, start one again that ends by itself, and stop them all.

    Args:
        command: runs one worker.
        count: how many.
        started: called once all workers accept connections.
    """

    def __init__(self, command: list[str], count: int, *, started: Callable[[], None]) -> None:
        self._command, self._count = command, count
        self._started = started
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._stopping = False
        self._folder = socket_folder()

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, self._stop)
        for number in range(self._count):
            self._start(number)
        if self._wait_until_listening():
            self._started()
        while not self._stopping:
            time.sleep(0.2)
            self._restart_ended()
        self._end()

    def _start(self, number: int) -> None:
        environment = {**os.environ, "PATCHBAY_WORKER": str(number), "PATCHBAY_WORKERS": str(self._count)}
        self._workers[number] = subprocess.Popen(self._command, env=environment)  # noqa: S603 - our own command

    def _wait_until_listening(self) -> bool:
        """Wait until each worker has a socket of the port or has failed; return whether they serve."""
        until = time.monotonic() + START_SECONDS
        while not self._stopping and time.monotonic() < until:
            if any(worker.poll() is not None for worker in self._workers.values()):
                return True  # restarted below, with the reason on stderr
            if all((self._folder / f"{number}.ready").exists() for number in self._workers):
                return True
            time.sleep(0.05)
        return not self._stopping

    def _restart_ended(self) -> None:
        for number, worker in list(self._workers.items()):
            code = worker.poll()
            if code is not None and not self._stopping:
                logger.error("Worker %d ended with code %d and is started again", number, code)
                time.sleep(RESTART_SECONDS)
                self._start(number)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _end(self) -> None:
        for worker in self._workers.values():
            worker.terminate()
        until = time.monotonic() + STOP_SECONDS
        for worker in self._workers.values():
            try:
                worker.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def socket_folder() -> Path:
    """Return the folder in which the workers find each other."""
    return Path(settings.PATCHBAY_HOME) / "workers"


def mark_ready() -> None:
    """Tell the supervisor that this worker accepts connections."""
    number = os.environ.get("PATCHBAY_WORKER")
    if number is not None:
        socket_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        (socket_folder() / f"{number}.ready").touch()


def worker_command(host: str, port: int, server: str) -> list[str]:
    """Return the command of one worker."""
    manage = str(settings.BASE_DIR / "manage.py")
    return [sys.executable, manage, "up", "--host", host, "--port", str(port), "--server", server, "--worker"]
