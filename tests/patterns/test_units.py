"""Quantities written for people."""

from __future__ import annotations

import pytest

from webapp.patterns.units import count, duration


@pytest.mark.parametrize(("number", "text"), [(0, "0 tokens"), (1, "1 token"), (2048, "2,048 tokens")])
def test_one_alone_is_singular(number: int, text: str) -> None:
    assert count(number, "token") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1 second"),
        (0.2, "1 second"),
        (119.5, "120 seconds"),
        (298, "5 minutes"),
        (1707, "29 minutes"),
        (7201, "3 hours"),
        (200_000, "3 days"),
    ],
)
def test_a_duration_is_rounded_up_in_its_largest_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text
