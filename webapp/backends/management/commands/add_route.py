"""`manage.py add_route`: sets the ordered steps of a route."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.backends import services
from webapp.backends.models import Backend, Route


class Command(BaseCommand):
    help = "Sets the ordered steps of a route, creating it where missing; prints its id."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True)
        parser.add_argument("--step", required=True, action="append", metavar="BACKEND/MODEL", dest="steps")
        parser.add_argument("--first-token-timeout", type=float, metavar="S")
        parser.add_argument("--idle-timeout", type=float, metavar="S")
        parser.add_argument("--mid-stream", choices=Route.MidStream.values, default="")

    def handle(self, **options: Any) -> None:
        try:
            route = services.set_route(
                name=options["name"],
                steps=[_step(text) for text in options["steps"]],
                first_token_timeout=options["first_token_timeout"],
                idle_timeout=options["idle_timeout"],
                mid_stream=options["mid_stream"],
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(str(route.pk))


def _step(text: str) -> tuple[Backend, str]:
    name, slash, model = text.partition("/")
    if not slash or not model:
        raise CommandError(f"{text!r} is no step: write BACKEND/MODEL, e.g. ollama/llama3.1")
    backend = Backend.objects.filter(name=name).first()
    if backend is None:
        known = ", ".join(Backend.objects.values_list("name", flat=True)) or "none yet"
        raise CommandError(f"There is no backend {name!r}. Known: {known}")
    return backend, model
