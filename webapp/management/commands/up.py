"""`manage.py up`: prepare the state, then serve."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.accounts import services as accounts
from webapp.accounts.models import User
from webapp.core import env


class Command(BaseCommand):
    help = "Prepare the database and files, then serve in the foreground."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=env.text("HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=env.number("PORT", 8000))
        parser.add_argument("--server", choices=["daphne", "uvicorn"], default="daphne")

    def handle(self, *_args: Any, host: str, port: int, server: str, **_options: Any) -> None:
        from webapp.server import startup

        startup.everything()
        serve = self._daphne if server == "daphne" else self._uvicorn
        with startup.serving():
            serve(host, port)

    def _daphne(self, host: str, port: int) -> None:
        from webapp.server.daphne.server import PatchbayServer  # first: it installs the asyncio reactor

        from webapp.asgi import application  # isort: skip

        server = PatchbayServer(application, host=host, port=port, on_listening=self._announce)
        server.run()
        if server.failed:
            raise CommandError(f"{server.failed}\nIs another Patchbay running? Choose another port: make run PORT=8001")

    def _uvicorn(self, host: str, port: int) -> None:
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
        self._announce(host, port)
        uvicorn.Server(config).run()

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
