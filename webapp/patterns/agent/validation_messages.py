"""Describe validation errors of a model's value for the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema import ValidationError as SchemaError
    from pydantic import ValidationError

MAX_COMPLAINTS = 10
MAX_VALUE_CHARS = 80
MAX_CHARS = 300


def of_pydantic(error: ValidationError) -> list[str]:
    """Return one line for each of the first errors: the place, the error, and the value."""
    faults = error.errors(include_url=False, include_context=False)
    return _bounded([_line(fault["loc"], fault["msg"], None if fault["type"] == "missing" else fault["input"]) for fault in faults])


def of_schema(errors: Iterable[SchemaError]) -> list[str]:
    """Return the same for a JSON schema; empty for a valid value."""
    return _bounded([_line(error.absolute_path, error.message, None) for error in errors])


def _line(path: Iterable[Any], message: str, found: Any) -> str:
    where = ".".join(map(str, path))
    got = "" if found is None else f" (got {_shortened(repr(found), MAX_VALUE_CHARS)})"
    return f"- {where + ': ' if where else ''}{_shortened(message, MAX_CHARS)}{got}"


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def _bounded(lines: list[str]) -> list[str]:
    more = [f"(and {len(lines) - MAX_COMPLAINTS} more)"] if len(lines) > MAX_COMPLAINTS else []
    return [*lines[:MAX_COMPLAINTS], *more]
