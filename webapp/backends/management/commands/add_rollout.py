"""Try a candidate for a route: `manage.py add_rollout --route R --step BACKEND/MODEL --mirror PERCENT`, or `--canary PERCENT`."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.backends import services
from webapp.backends.models import Backend, Rollout, Route


class Command(BaseCommand):
    """Start or stop rollouts."""

    help = "Mirrors a share of a route's requests to a candidate, or lets it answer a share; prints the id. --stop ends both kinds."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options of docs/contract.md."""
        parser.add_argument("--route", required=True, metavar="R")
        parser.add_argument("--step", metavar="BACKEND/MODEL", help="The candidate.")
        action = parser.add_mutually_exclusive_group(required=True)
        action.add_argument("--mirror", type=float, metavar="PERCENT")
        action.add_argument("--canary", type=float, metavar="PERCENT")
        action.add_argument("--stop", action="store_true")
        parser.add_argument("--min-samples", type=int, metavar="N", help="Attempts before a canary is judged.")
        parser.add_argument("--max-error-rise", type=float, metavar="POINTS", help="Percentage points of more failures.")
        parser.add_argument("--max-latency-ratio", type=float, metavar="X", help="How many times slower.")

    def handle(self, **options: Any) -> None:
        """Run the command."""
        route = Route.objects.filter(name=options["route"]).first()
        if route is None:
            raise CommandError(f"There is no route {options['route']!r}.")
        if options["stop"]:
            for rollout in route.rollouts.filter(state=Rollout.State.RUNNING):
                services.stop_rollout(rollout=rollout)
            return
        name, _, model = (options["step"] or "").partition("/")
        backend = Backend.objects.filter(name=name).first()
        if backend is None or not model:
            raise CommandError(f"{options['step']!r} is not a candidate: write BACKEND/MODEL with a backend that exists.")
        kind = Rollout.Kind.CANARY if options["mirror"] is None else Rollout.Kind.MIRROR
        limits = {limit: options[limit] for limit in ("min_samples", "max_error_rise", "max_latency_ratio")}
        percent = options["canary"] if options["mirror"] is None else options["mirror"]
        try:
            rollout = services.start_rollout(route=route, kind=kind, backend=backend, model=model, percent=percent, **limits)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(str(rollout.pk))
