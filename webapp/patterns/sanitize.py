"""Turn foreign values into values that every database and JSON parser accepts."""

from __future__ import annotations

import json
import math
from typing import Any

from webapp.patterns.types import Json

MAX_DEPTH = 100


def text(value: str) -> str:
    """Return `value` without NUL, which PostgreSQL rejects, and without lone surrogates, which are not text."""
    return value.replace("\0", "").encode("utf-8", "replace").decode()


def clean(value: Any) -> Any:
    """Return JSON data with storable texts, and with null for NaN and Infinity, which JSON does not have."""
    if isinstance(value, str):
        return value if value.isascii() and "\0" not in value else text(value)
    if isinstance(value, dict):
        return {text(str(name)): clean(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_object(source: str) -> Json:
    """Parse a JSON object that a user entered.

    Raises:
        ValueError: it is not an object, or cannot be stored; the text says why.
    """
    try:
        value = json.loads(source)
    except json.JSONDecodeError as error:
        raise ValueError(f"This is not JSON. Line {error.lineno}, column {error.colno}: {error.msg}.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError("This is not JSON.") from error
    if not isinstance(value, dict):
        raise ValueError("Enter a JSON object.")  # noqa: TRY004 - the text has the wrong value, not the wrong type
    if _depth(value) > MAX_DEPTH:
        raise ValueError(f"This is nested more than {MAX_DEPTH} levels deep.")
    if clean(value) != value:
        raise ValueError("This holds NaN, a number too large, a NUL or half a character.")
    return value


def _depth(value: Any) -> int:
    """Return the nesting depth of lists and objects, counted level by level, without recursion."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
        depth += 1
    return depth
