"""What every database and every JSON parser can hold of values that come from strangers."""

from __future__ import annotations

import json
import math
from typing import Any

from webapp.patterns.types import Json

MAX_DEPTH = 100


def text(value: str) -> str:
    """`value` without NUL (PostgreSQL takes none) and without halves of surrogate pairs (which are no text)."""
    return value.replace("\0", "").encode("utf-8", "replace").decode()


def clean(value: Any) -> Any:
    """JSON data with its texts made storable, and null for NaN and Infinity, which JSON does not have."""
    if isinstance(value, str):
        return value if value.isascii() and "\0" not in value else text(value)
    if isinstance(value, dict):
        return {text(str(name)): clean(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_object(source: str) -> Json:
    """Return the JSON object that a user entered.

    Raises:
        ValueError: the text is not a JSON object, or holds values that cannot be stored; the message says where or why.
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
    """Return how deep lists and objects are nested. Counts level by level, because recursion could overflow."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
        depth += 1
    return depth
