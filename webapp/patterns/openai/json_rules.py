"""Define rules for JSON values as data: `Nullable(Number(0, 2))`, `Array(String(), most=4)` (docs/adr/0021).

Each rule knows which values have its type (`fits`), and raises `InputError` for a value of another type or out of range (`check`).
Messages, `param` (`messages[0].role`), and `code` match OpenAI's API. Unknown fields of an object always pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from webapp.patterns.errors import InputError

QUOTED_CHARS = 100


class Rule(Protocol):
    """A rule for one value."""

    @property
    def expected(self) -> str:
        """Return the type in words: "a string"."""

    def fits(self, value: Any) -> bool:
        """Return whether `value` has this rule's JSON type."""

    def check(self, value: Any, path: str) -> None:
        """Raise `InputError` unless `value`, found at `path`, obeys."""


def type_name(value: Any) -> str:
    """Return the JSON type of `value` in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def _refuse(path: str, code: str, message: str) -> NoReturn:
    raise InputError(message, param=path or None, code=code)


def _demand(fits: bool, rule: Rule, value: Any, path: str) -> None:  # noqa: FBT001 - the condition, as in assert
    if not fits:
        _refuse(path, "invalid_type", f"Invalid type for '{path}': expected {rule.expected}, but got {type_name(value)} instead.")


def _demand_at_most(most: int | None, length: int, kind: str, path: str) -> None:
    if most is not None and length > most:
        limit = f"Expected {'an' if kind[0] in 'ao' else 'a'} {kind} with maximum length {most}, but got length {length} instead."
        _refuse(path, f"{kind}_above_max_length", f"Invalid '{path}': {kind} too long. {limit}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false."""

    expected: str = "a boolean"

    def fits(self, value: Any) -> bool:
        """Return whether the value has the type of this rule."""
        return isinstance(value, bool)

    def check(self, value: Any, path: str) -> None:
        """Raise `RequestRejected` with the path when the value breaks this rule."""
        _demand(isinstance(value, bool), self, value, path)


@dataclass(frozen=True, slots=True)
class Number:
    """A number from `least` to `most`, inclusive; an integer if `whole`."""

    least: float = -math.inf
    most: float = math.inf
    whole: bool = False

    @property
    def expected(self) -> str:
        """Return the expected type in words."""
        return "an integer" if self.whole else "a number"

    def fits(self, value: Any) -> bool:
        """Return whether the value has the type of this rule."""
        return _is_number(value) and (not self.whole or isinstance(value, int) or (math.isfinite(value) and value.is_integer()))

    def check(self, value: Any, path: str) -> None:
        """Raise `RequestRejected` with the path when the value breaks this rule."""
        _demand(self.fits(value), self, value, path)
        kind = "integer" if self.whole else "decimal"
        if value < self.least:
            bound = f"Expected a value >= {self.least:g}, but got {value} instead."
            _refuse(path, f"{kind}_below_min_value", f"Invalid '{path}': {kind} below minimum value. {bound}")
        if value > self.most:
            bound = f"Expected a value <= {self.most:g}, but got {value} instead."
            _refuse(path, f"{kind}_above_max_value", f"Invalid '{path}': {kind} above maximum value. {bound}")


def Integer(least: float = -math.inf, most: float = math.inf) -> Number:  # noqa: N802 - reads as the rule it makes
    """Return the rule for an integer from `least` to `most`."""
    return Number(least, most, whole=True)


@dataclass(frozen=True, slots=True)
class String:
    """A string of `least` to `most` characters."""

    least: int = 0
    most: int | None = None
    expected: str = "a string"

    def fits(self, value: Any) -> bool:
        """Return whether the value has the type of this rule."""
        return isinstance(value, str)

    def check(self, value: Any, path: str) -> None:
        """Raise `RequestRejected` with the path when the value breaks this rule."""
        _demand(isinstance(value, str), self, value, path)
        if len(value) < self.least:
            _refuse(path, "empty_string", f"Invalid '{path}': empty string. Expected a string with minimum length {self.least}.")
        _demand_at_most(self.most, len(value), "string", path)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few strings."""

    values: tuple[str, ...]

    @property
    def expected(self) -> str:
        """Return the expected type in words."""
        return "one of " + ", ".join(f"'{value}'" for value in self.values)

    def fits(self, value: Any) -> bool:
        """Return whether the value has the type of this rule."""
        return isinstance(value, str)

    def check(self, value: Any, path: str) -> None:
        """Raise `RequestRejected` with the path when the value breaks this rule."""
        _demand(isinstance(value, str), self, value, path)
        if value not in self.values:
            _wrong_choice(value, self.values, path)


def _wrong_choice(value: str, values: tuple[str, ...], path: str) -> NoReturn:
    known = ", ".join(f"'{name}'" for name in values)
    _refuse(path, "invalid_value", f"Invalid value: '{value[:QUOTED_CHARS]}'. Supported values for '{path}' are: {known}.")


@dataclass(frozen=True, slots=True)
class Array:
    """An array of `least` to `most` values that each match `item`."""

    item: Rule
    least: int = 0
    most: int | None = None

    @property
    def expected(self) -> str:
        """Return the expected type in words."""
        return "an array of " + re.sub(r"^an? (\w+)", r"\1s", self.item.expected)

    def fits(self, value: Any) -> bool:
        """Return whether the value has the type of this rule."""
        return isinstance(value, list) and (not value or self.item.fits(value[0]))

    def check(self, value: Any, path: str) -> None:
        """Raise `RequestRejected` with the path when the value breaks this rule."""
        _demand(isinstance(value, list), self, value, path)
        if len(value) < self.least:
            _refuse(path, "empty_array", f"Invalid '{path}': empty array. Expected an array with minimum length {self.least}.")
        _demand_at_most(self.most, len(value), "array", path)
        for index, entry in enumerate(value):
            self.item.check(entry, f"{path}[{index}]")


@dataclass(frozen=True, slots=True)
class Object:
    """An object whose known `fields` match their rules, without missing `required` ones.

    Other fields pass, and so does null for a field that is not required, because clients write out defaults as null.
    """

    fields: Mapping[str, Rule] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    expected: str = "an object"

    def fits(self, value: Any) -> bool:
        """Return whether the value has the type of this rule."""
        return isinstance(value, dict)

    def check(self, value: Any, path: str) -> None:
        """Raise `RequestRejected` with the path when the value breaks this rule."""
        _demand(isinstance(value, dict), self, value, path)
        for name in self.required:
            if name not in value:
                missing = _below(path, name)
                _refuse(missing, "missing_required_parameter", f"Missing required parameter: '{missing}'.")
        fields = self.fields
        for name, item in value.items():
            if name in fields and (item is not None or name in self.required):
                fields[name].check(item, f"{path}.{name}" if path else name)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@dataclass(frozen=True, slots=True)
class Map:
    """An object of at most `most` entries with names of at most `name_chars`, whose values match `value`."""

    value: Rule
    most: int | None = None
    name_chars: int | None = None
    expected: str = "an object"

    def fits(self, value: Any) -> bool:
        """Return whether the value has the type of this rule."""
        return isinstance(value, dict)

    def check(self, value: Any, path: str) -> None:
        """Raise `RequestRejected` with the path when the value breaks this rule."""
        _demand(isinstance(value, dict), self, value, path)
        _demand_at_most(self.most, len(value), "object", path)
        for name, entry in value.items():
            String(most=self.name_chars).check(name, path)
            self.value.check(entry, _below(path, name))


@dataclass(frozen=True, slots=True)
class Discriminated:
    """An object whose field `tag` selects the rule. An unknown tag is refused; if `open` it passes, because servers add their own kinds."""

    tag: str
    cases: Mapping[str, Object]
    open: bool = False
    expected: str = "an object"

    def fits(self, value: Any) -> bool:
        """Return whether the value has the type of this rule."""
        return isinstance(value, dict)

    def check(self, value: Any, path: str) -> None:
        """Raise `RequestRejected` with the path when the value breaks this rule."""
        if value.__class__ is not dict or value.get(self.tag).__class__ is not str:
            Object({self.tag: String()}, required=(self.tag,)).check(value, path)  # raises the error
        case = self.cases.get(value[self.tag])
        if case:
            case.check(value, path)
        elif not self.open:
            _wrong_choice(value[self.tag], tuple(self.cases), _below(path, self.tag))


@dataclass(frozen=True, slots=True)
class OneOf:
    """A value that matches the first of `rules` with its type."""

    rules: tuple[Rule, ...]

    @property
    def expected(self) -> str:
        """Return the expected type in words."""
        kinds = " or ".join(rule.expected for rule in self.rules)
        return kinds if kinds.startswith("one of ") else f"one of {kinds}"

    def fits(self, value: Any) -> bool:
        """Return whether the value has the type of this rule."""
        return any(rule.fits(value) for rule in self.rules)

    def check(self, value: Any, path: str) -> None:
        """Raise `RequestRejected` with the path when the value breaks this rule."""
        for rule in self.rules:
            if rule.fits(value):
                rule.check(value, path)
                return
        _demand(False, self, value, path)  # noqa: FBT003 - as in an assertion


@dataclass(frozen=True, slots=True)
class Nullable:
    """null, or a value that matches `rule`."""

    rule: Rule

    @property
    def expected(self) -> str:
        """Return the expected type in words."""
        return self.rule.expected

    def fits(self, value: Any) -> bool:
        """Return whether the value has the type of this rule."""
        return value is None or self.rule.fits(value)

    def check(self, value: Any, path: str) -> None:
        """Raise `RequestRejected` with the path when the value breaks this rule."""
        if value is not None:
            self.rule.check(value, path)
