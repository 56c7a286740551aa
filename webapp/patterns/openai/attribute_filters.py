"""Filters over the attributes of files, as in OpenAI's file search: comparisons, and `and` and `or` of filters.

Numbers compare with numbers, texts with texts (in the order of their characters), and booleans only for equality. A file without the
attribute matches `ne` and `nin`, and no other comparison.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from webapp.patterns.errors import InputError
from webapp.patterns.openai.json_rules import Array, Boolean, Choice, Number, Object, OneOf, String
from webapp.patterns.types import Json

Matcher = Callable[[Mapping[str, Any]], bool]
"""(attributes of a file) -> whether the file matches."""

MAX_DEPTH: Final = 16
MAX_COMPARISONS: Final = 500
_EQUALITY: Final = ("eq", "ne")
_MEMBERSHIP: Final = ("in", "nin")
_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_COMPOUND: Final = ("and", "or")
_TYPES: Final = Choice((*_EQUALITY, *_ORDER, *_MEMBERSHIP, *_COMPOUND))
_VALUE: Final = OneOf((Boolean(), Number(), String()))
_COMPARISON: Final = {
    **{name: Object({"key": String(least=1), "value": _VALUE}, required=("key", "value")) for name in (*_EQUALITY, *_ORDER)},
    **{name: Object({"key": String(least=1), "value": Array(_VALUE)}, required=("key", "value")) for name in _MEMBERSHIP},
}


@dataclass(frozen=True, slots=True)
class FilterRule:
    """The rule for a filter in a request."""

    expected: str = "an object"

    def fits(self, value: Any) -> bool:
        """Return whether `value` is an object."""
        return isinstance(value, dict)

    def check(self, value: Any, path: str) -> None:
        """Raise `InputError` unless `value` is a filter, at most `MAX_DEPTH` deep."""
        self._check(value, path, 1)

    def _check(self, value: Any, path: str, depth: int) -> int:
        """Check the filter and return the number of its comparisons."""
        Object({"type": _TYPES}, required=("type",)).check(value, path)
        if value["type"] not in _COMPOUND:
            _COMPARISON[value["type"]].check(value, path)
            return 1
        if depth > MAX_DEPTH:
            raise InputError(f"Filters nest at most {MAX_DEPTH} levels deep.", param=path, code="invalid_value")
        Object({"filters": Array(Object(), least=1)}, required=("filters",)).check(value, path)
        count = sum(self._check(inner, f"{path}.filters[{number}]", depth + 1) for number, inner in enumerate(value["filters"]))
        if count > MAX_COMPARISONS:
            raise InputError(f"Filters have at most {MAX_COMPARISONS} comparisons.", param=path, code="invalid_value")
        return count


def matcher_of(wanted: Json) -> Matcher:
    """Return the function that tells whether a file matches a filter that obeys `FilterRule`."""
    kind = wanted["type"]
    if kind in _COMPOUND:
        inner = [matcher_of(each) for each in wanted["filters"]]
        every = all if kind == "and" else any
        return lambda attributes: every(matches(attributes) for matches in inner)
    key, value = wanted["key"], wanted["value"]
    if kind in _MEMBERSHIP:
        return lambda attributes: any(_equal(attributes.get(key), each) for each in value) == (kind == "in")
    if kind in _EQUALITY:
        return lambda attributes: _equal(attributes.get(key), value) == (kind == "eq")
    compare = _ORDER[kind]
    return lambda attributes: _comparable(attributes.get(key), value) and compare(attributes[key], value)


def _equal(found: Any, value: Any) -> bool:
    return isinstance(found, bool) == isinstance(value, bool) and bool(found == value)


def _comparable(found: Any, value: Any) -> bool:
    return (_is_number(found) and _is_number(value)) or (isinstance(found, str) and isinstance(value, str))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
