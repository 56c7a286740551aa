"""Set the steps of a route: `manage.py add_route --name R --step BACKEND/MODEL[@WEIGHT] …`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.backends import services
from webapp.backends.models import Backend, Route


class Command(BaseCommand):
    """The command."""

    help = "Sets the steps of a route, creating it where missing; prints its id. Steps share the load until --then begins a fallback group."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options of docs/contract.md."""
        parser.add_argument("--name", required=True)
        parser.add_argument("--step", required=True, action=_AddStep, metavar="BACKEND/MODEL[@WEIGHT]", dest="steps")
        parser.add_argument("--then", action=_NextGroup, nargs=0, help="The steps after this are the fallback of those before.")
        parser.add_argument("--balance", choices=Route.Balance.values, default="", help="How the steps of a group share the load.")
        parser.add_argument("--sticky", action="store_true", default=None, help="Keep each conversation on one step.")
        parser.add_argument("--no-sticky", action="store_false", dest="sticky", help="Let each request choose its step again.")
        parser.add_argument("--first-token-timeout", type=float, metavar="S")
        parser.add_argument("--idle-timeout", type=float, metavar="S")
        parser.add_argument("--mid-stream", choices=Route.MidStream.values, default="")

    def handle(self, **options: Any) -> None:
        """Set the route and print its id."""
        steps = [(*_step(text), group) for text, group in options["steps"]]
        try:
            route = services.set_route(
                name=options["name"],
                steps=[(backend, model) for backend, model, _weight, _group in steps],
                groups=[group for *_, group in steps],
                weights=[weight for _backend, _model, weight, _group in steps],
                balance=options["balance"],
                sticky=options["sticky"],
                first_token_timeout=options["first_token_timeout"],
                idle_timeout=options["idle_timeout"],
                mid_stream=options["mid_stream"],
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(str(route.pk))


class _AddStep(argparse.Action):
    """Append (text, group) to the steps."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        _option: str | None = None,
    ) -> None:
        steps = list(getattr(namespace, self.dest) or ())
        setattr(namespace, self.dest, [*steps, (values, getattr(namespace, "group", 0))])


class _NextGroup(argparse.Action):
    """Begin the next group."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        _values: str | Sequence[Any] | None,
        _option: str | None = None,
    ) -> None:
        namespace.group = getattr(namespace, "group", 0) + 1


def _step(text: str) -> tuple[Backend, str, int]:
    """Return the backend, the model and the weight of a step. A model may hold an `@` itself: only a number after the last one counts."""
    name, slash, model = text.partition("/")
    if not slash or not model:
        raise CommandError(f"{text!r} is not a step: write BACKEND/MODEL, e.g. ollama/llama3.1")
    model, weight = _weight(model)
    backend = Backend.objects.filter(name=name).first()
    if backend is None:
        known = ", ".join(Backend.objects.values_list("name", flat=True)) or "none yet"
        raise CommandError(f"There is no backend {name!r}. Known: {known}")
    return backend, model, weight


def _weight(model: str) -> tuple[str, int]:
    name, at, number = model.rpartition("@")
    if not at or not number.isdigit():
        return model, 1
    if not 1 <= int(number) <= 1000:
        raise CommandError(f"The weight in {model!r} must be a whole number from 1 to 1000.")
    return name, int(number)
