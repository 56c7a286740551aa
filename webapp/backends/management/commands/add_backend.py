"""`manage.py add_backend`: add a backend, or change the one with this name."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.backends import services
from webapp.backends.models import Backend
from webapp.backends.runtime import registry
from webapp.patterns.units import count


class Command(BaseCommand):
    """Add or change a backend."""

    help = "Adds a backend, or changes the one of that name; discovers its models where it answers; prints its id."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--name", required=True)
        parser.add_argument("--base-url", required=True, help="up to and including /v1, e.g. http://localhost:11434/v1")
        key = parser.add_mutually_exclusive_group()
        key.add_argument("--api-key", help="stored encrypted; visible in the shell's history: --api-key-env is safer")
        key.add_argument("--api-key-env", help="name of the environment variable that holds the key")

    def handle(self, **options: Any) -> None:
        """Run the command."""
        try:
            backend = services.add_backend(
                name=options["name"], base_url=options["base_url"], api_key=options["api_key"], api_key_env=options["api_key_env"]
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self._report(async_to_sync(_discover)(backend))
        self.stdout.write(str(backend.pk))

    def _report(self, found: services.Discovery) -> None:
        if found.problem:
            self.stderr.write(f"Its models could not be listed: {found.problem}")
        else:
            if found.corrected:
                self.stderr.write(f"The server answers at {found.corrected}, which is now its address.")
            self.stderr.write(f"Found {count(found.total, 'model')}.")


async def _discover(backend: Backend) -> services.Discovery:
    try:
        return await services.discover(backend)
    finally:
        await registry.aclose()
