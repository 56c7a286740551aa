"""SECURITY.md, compared with the table of addresses and roles."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.security.test_roles import ROLES, TABLE

TEXT = (Path(__file__).parents[2] / "SECURITY.md").read_text()


def listed_after(sentence: str) -> list[str]:
    """Return the addresses of the list that follows a sentence."""
    items = TEXT.split(sentence)[1].split("\n\n")[1].splitlines()
    return [re.findall(r"`([^`]+)`", item)[0] for item in items]


def test_exactly_the_listed_addresses_answer_without_a_sign_in() -> None:
    answering = [route for route, (_, answers) in TABLE.items() if answers[0].startswith("2")]
    assert sorted(answering) == sorted(listed_after("these addresses answer:"))


def test_the_pages_of_managers_are_listed() -> None:
    prefixes = tuple(listed_after("reach the pages below these addresses:"))
    refused = [route for route, (_, answers) in TABLE.items() if answers[1] == "403"]
    assert [route for route in refused if not route.startswith(prefixes)] == []


@pytest.mark.parametrize("prefix", listed_after("reach the pages below these addresses:"))
def test_users_are_refused_below_a_managers_address(prefix: str) -> None:
    below = {route: dict(zip(ROLES, answers, strict=True)) for route, (_, answers) in TABLE.items() if route.startswith(prefix)}
    assert below
    assert [route for route, answers in below.items() if answers["other"] not in {"login", "403", "404", "302"}] == []
