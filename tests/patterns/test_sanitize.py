"""Untrusted text is cleaned so that every database can store it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.patterns import sanitize

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)


@given(JSON)
def test_what_was_cleaned_is_strict_json_without_nul_and_stays_as_it_is(value: Any) -> None:
    cleaned = sanitize.clean(value)
    raw = json.dumps(cleaned, allow_nan=False, ensure_ascii=False).encode()
    assert b"\\u0000" not in raw
    assert sanitize.clean(cleaned) == cleaned


def test_each_kind_of_value_that_cannot_be_kept_is_replaced() -> None:
    assert sanitize.clean({"a\0": ("b\0", "\ud800", math.nan, -math.inf, 1.5, None)}) == {"a": ["b", "?", None, None, 1.5, None]}


def test_plain_text_is_not_copied() -> None:
    text = "plain " * 10
    assert sanitize.clean(text) is text


def test_an_object_is_read() -> None:
    assert sanitize.parse_object('{"a": [{"b": "ü"}]}') == {"a": [{"b": "ü"}]}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "a JSON object"),
        ('{"a": ' + "[" * 150 + "]" * 150 + "}", "nested more than 100"),
        ('{"a": NaN}', "NaN"),
        ('{"a": "\\u0000"}', "NUL"),
        ('{"a": "\\ud800"}', "half a character"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_reason(source: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        sanitize.parse_object(source)
