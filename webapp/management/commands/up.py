"""`manage.py up`: prepare the state, then serve."""

from __future__ import annotations

import argparse
import os
import socket
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.accounts import services as accounts
from webapp.accounts.models import User
from webapp.core import env

MAX_WORKERS: Final = 64
PORT_IN_USE: Final = "Is another Patchbay running? Choose another port: make run PORT=8001"


class Command(BaseCommand):
    """Prepare the installation and serve it."""

    help = "Prepare the database and files, then serve in the foreground."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--host", default=env.text("HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=env.number("PORT", 8000))
        parser.add_argument("--server", choices=["daphne", "uvicorn"], default="daphne")
        parser.add_argument("--workers", type=int, default=1, metavar="N", help="Processes that share the port.")
        parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)

    def handle(self, *_args: Any, host: str, port: int, server: str, workers: int, worker: bool, **_options: Any) -> None:
        """Run the command."""
        from webapp.server import startup

        if not 1 <= workers <= MAX_WORKERS:
            raise CommandError(f"--workers must be from 1 to {MAX_WORKERS}.")
        if not worker:
            startup.everything()
        serve = self._daphne if server == "daphne" else self._uvicorn
        with startup.serving():
            if workers > 1:
                self._supervise(host, port, server, workers)
            else:
                serve(host, port, shared=worker)

    def _supervise(self, host: str, port: int, server: str, workers: int) -> None:
        """Check that the port is free, then run the workers."""
        from webapp.server.workers import Supervisor, worker_command

        if ":" in host and server == "daphne":
            raise CommandError("Daphne shares an IPv4 address only: give one with --host, or choose --server uvicorn.")
        try:
            with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
                pass
        except OSError as error:
            raise CommandError(f"{error}\n{PORT_IN_USE}") from error
        command = worker_command(host, port, server)
        Supervisor(command, workers, started=lambda: self._announce(host, port)).run()

    def _daphne(self, host: str, port: int, *, shared: bool) -> None:
        from webapp.server.daphne.server import PatchbayServer  # first: it installs the asyncio reactor

        from webapp.asgi import application  # isort: skip

        from webapp.server.workers import listening_socket

        opened = listening_socket(host, port) if shared else None
        server = PatchbayServer(application, host=host, port=port, opened=opened, on_listening=self._listening)
        server.run()
        if server.failed:
            raise CommandError(f"{server.failed}\n{PORT_IN_USE}")

    def _uvicorn(self, host: str, port: int, *, shared: bool) -> None:
        try:
            import uvicorn
        except ImportError as error:
            raise CommandError("uvicorn is not installed: pip install --require-hashes -r requirements/scale.txt") from error
        from webapp.asgi import application
        from webapp.server.websocket import MAX_MESSAGE_BYTES

        config = uvicorn.Config(
            application, host=host, port=port, log_level="warning", server_header=False,
            timeout_graceful_shutdown=max(1, settings.STOP_GRACE), ws_max_size=MAX_MESSAGE_BYTES,
        )  # fmt: skip
        from webapp.server.workers import listening_socket

        self._listening(host, port)
        uvicorn.Server(config).run(sockets=[listening_socket(host, port)] if shared else None)

    def _listening(self, host: str, port: int) -> None:
        """Say where to go; a worker leaves that to its supervisor."""
        from webapp.server.workers import mark_ready

        if "PATCHBAY_WORKER" in os.environ:
            mark_ready()
        else:
            self._announce(host, port)

    def _announce(self, host: str, port: int) -> None:
        shown = "localhost" if host in {"127.0.0.1", "0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound
        address = f"http://{shown}:{port}/"
        self.stdout.write(f"Patchbay serves at {address}")
        if not User.objects.exists():
            public = (
                f"{settings.TRUSTED_ORIGINS[0]}/" if settings.TRUSTED_ORIGINS else address
            )  # behind a proxy: the address that people open
            self.stdout.write(f"Create the first account: {public}accounts/setup/?token={accounts.setup_token()}")
        self.stdout.flush()
