"""`manage.py add_route` (docs/contract.md)."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from webapp.backends.config import snapshot
from webapp.backends.models import Route
from webapp.backends.services import add_backend

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def servers() -> None:
    for name in ("a", "b", "c"):
        add_backend(name=name, base_url="http://localhost:1/v1")


def test_steps_share_the_load_until_then() -> None:
    steps = ["--step", "a/m@3", "--step", "b/m", "--then", "--step", "c/x@y"]
    call_command("add_route", "--name", "r", *steps, "--balance", "weighted", "--sticky")
    route = Route.objects.get(name="r")
    found = [(step.backend.name, step.model, step.group, step.weight) for step in route.steps.all()]
    assert found == [("a", "m", 0, 3), ("b", "m", 0, 1), ("c", "x@y", 1, 1)]
    assert (route.balance, route.sticky) == ("weighted", True)
    row = snapshot.load().routes["r"]
    assert (row.balance, row.sticky, [step.group for step in row.steps]) == ("weighted", True, [0, 0, 1])


def test_a_route_keeps_what_a_later_call_does_not_name() -> None:
    call_command("add_route", "--name", "r", "--step", "a/m", "--balance", "fastest", "--sticky")
    call_command("add_route", "--name", "r", "--step", "b/m")
    route = Route.objects.get(name="r")
    assert (route.balance, route.sticky) == ("fastest", True)
    call_command("add_route", "--name", "r", "--step", "b/m", "--balance", "ordered", "--no-sticky")
    route.refresh_from_db()
    assert (route.balance, route.sticky) == ("ordered", False)


@pytest.mark.parametrize(
    ("step", "why"), [("a", "is not a step"), ("a/m@0", "whole number"), ("a/m@5000", "whole number"), ("z/m", "no backend")]
)
def test_a_wrong_step_is_named(step: str, why: str) -> None:
    with pytest.raises(CommandError, match=why):
        call_command("add_route", "--name", "r", "--step", step)
