"""Read request bodies: strict JSON, bounded, and validated before use."""

from __future__ import annotations

import math
import re
from typing import Any

import jiter
from django.conf import settings

from webapp.gateway.http import Call
from webapp.patterns.openai.json_rules import Rule
from webapp.patterns.openai.raw_body import RawBody
from webapp.patterns.openai.request_schema import check_body, check_object
from webapp.patterns.types import Json
from webapp.ports.files_and_batches import ApiError

NUMBERS_AND_CONTAINERS = frozenset({float, dict, list})
ESCAPE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL)


def _whole(escape: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if escape[1] else escape[0]


async def read_json(call: Call) -> Json:
    """Return the body of a POST to `call.path`, checked against OpenAI's schema.

    Raises:
        ApiError, InputError: the body is not valid.
    """
    return (await read_request(call))[0]


async def read_request(call: Call) -> tuple[Json, RawBody]:
    """Return the body as `read_json` does, and with its bytes.

    Raises:
        ApiError, InputError: the body is not valid.
    """
    raw = with_whole_characters(await call.body(settings.MAX_BODY_BYTES))
    body = decode(raw)
    check_body(body, call.path)
    return body, RawBody(raw, body)


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
    return decode(with_whole_characters(raw))


def with_whole_characters(raw: bytes) -> bytes:
    """Return JSON with U+FFFD in the place of escaped lone surrogates. Most bodies have no escaped surrogate, and come back as they are."""
    return ESCAPE.sub(_whole, raw) if b"\\ud" in raw or b"\\uD" in raw else raw


def decode(raw: bytes) -> Any:
    """Decode as `parse` does, without the repair of lone surrogates."""
    try:
        body = jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError as error:
        raise unreadable(str(error)) from error
    if _has_infinity(body):
        raise unreadable("a number is out of range")
    return body


def _has_infinity(value: Any) -> bool:
    """Return whether a number is out of the range of a double: jiter reads it as infinity, which JSON cannot express.

    A search for such numbers in the bytes costs ten times as much for a long prompt, since it visits every character.
    """
    if value.__class__ is float:
        return not math.isfinite(value)
    if value.__class__ is dict:
        return any(_has_infinity(item) for item in value.values() if item.__class__ in NUMBERS_AND_CONTAINERS)
    if value.__class__ is list and not NUMBERS_AND_CONTAINERS.isdisjoint(map(type, value)):
        return any(_has_infinity(item) for item in value if item.__class__ in NUMBERS_AND_CONTAINERS)
    return False


def unreadable(why: str) -> ApiError:
    """Return an `ApiError` 400 for a body that is not JSON."""
    return ApiError(400, f"We could not parse the JSON body of your request: {why}.", code="invalid_json")
