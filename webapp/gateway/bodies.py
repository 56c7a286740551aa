"""Read request bodies: strict JSON, bounded, and validated before use."""

from __future__ import annotations

import math
import re
from typing import Any

import jiter
from django.conf import settings

from webapp.gateway.http import Call
from webapp.patterns.openai.json_rules import Rule
from webapp.patterns.openai.request_schema import check_body, check_object
from webapp.patterns.types import Json
from webapp.ports.files_and_batches import ApiError

HUGE_NUMBER = re.compile(rb"[\d.][eE]\+?\d{3}|\d{300}")
"""A number beyond the range of a double. jiter reads it as infinity, which JSON cannot express."""

LONE_HALF = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
"""A surrogate. Most come in pairs."""
ESCAPE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL)


def _whole(escape: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if escape[1] else escape[0]


async def read_json(call: Call) -> Json:
    """Return the body of a POST to `call.path`, checked against OpenAI's schema.

    Raises:
        ApiError, InputError: the body is not valid.
    """
    body = parse(await call.body(settings.MAX_BODY_BYTES))
    check_body(body, call.path)
    return dict(body)


async def read_object(call: Call, rule: Rule) -> Json:
    """Return the body of a POST as an object that obeys `rule`; an empty body counts as `{}`.

    Raises:
        ApiError, InputError: the body is not valid.
    """
    raw = await call.body(settings.MAX_BODY_BYTES)
    body: Any = parse(raw) if raw.strip() else {}
    check_object(body, rule)
    return dict(body)


def parse(raw: bytes) -> Any:
    """Decode strictly: no NaN, no duplicate keys, at most 200 levels, UTF-8 only.

    Lone surrogates (`\ud800`) become U+FFFD. Clients send them when they truncate texts by UTF-16 units.
    """
    if LONE_HALF.search(raw):
        raw = ESCAPE.sub(_whole, raw)
    try:
        body = jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError as error:
        raise unreadable(str(error)) from error
    if HUGE_NUMBER.search(raw) and _has_infinity(body):
        raise unreadable("a number is out of range")
    return body


def _has_infinity(value: Any) -> bool:
    match value:
        case float():
            return not math.isfinite(value)
        case list():
            return any(map(_has_infinity, value))
        case dict():
            return any(map(_has_infinity, value.values()))
        case _:
            return False


def unreadable(why: str) -> ApiError:
    """Return an `ApiError` 400 for a body that is not JSON."""
    return ApiError(400, f"We could not parse the JSON body of your request: {why}.", code="invalid_json")
