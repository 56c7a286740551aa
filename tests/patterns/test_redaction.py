"""Secrets do not pass (FAULTS 15)."""

from __future__ import annotations

import pytest

from webapp.patterns.redaction import MASK, Redactor, redact

KEY = "My+Key/1234=="


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"bad key {KEY}!", f"bad key {MASK}!"),
        ("bad key My%2BKey%2F1234%3D%3D", f"bad key {MASK}"),
        ("Incorrect API key provided: sk-proj-abc123***xyz789.", f"Incorrect API key provided: {MASK}"),
        ("Authorization: Bearer abcdefgh1234", f"Authorization: {MASK}"),
        ("the risk-averse pk-nothing", "the risk-averse pk-nothing"),
        ("", ""),
    ],
)
def test_known_keys_and_what_looks_like_one_are_masked(text: str, clean: str) -> None:
    assert redact(text, KEY) == clean


def test_the_longest_secret_goes_first_and_short_ones_are_no_secrets() -> None:
    assert redact("abcdef abcd abc", "abcd", "abcdef", "abc") == f"{MASK} {MASK} abc"


def test_json_is_copied_without_secrets_in_keys_and_values() -> None:
    value = {KEY: [KEY, 1, None, {"a": f"x{KEY}"}]}
    assert Redactor([KEY]).json(value) == {MASK: [MASK, 1, None, {"a": f"x{MASK}"}]}


def test_what_lies_too_deep_is_left_out() -> None:
    deep: object = "secret"
    for level in range(30):
        deep = {"a": deep} if level % 2 else [deep]
    assert "secret" not in str(Redactor().json(deep))
