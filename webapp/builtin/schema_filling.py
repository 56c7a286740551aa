"""Fill a JSON schema with values extracted from a text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from webapp.builtin import extraction
from webapp.builtin.catalog import CHAT_MODEL
from webapp.builtin.protocol import ApiError
from webapp.patterns.types import Json

MAX_DEPTH = 40
MAX_VALUES = 20_000
PATH = "response_format.json_schema"
NOT_SCHEMAS = {"properties", "$defs", "definitions", "dependentSchemas", "enum", "const", "default", "examples", "required"}
FORMATS = {
    "date-time": "1970-01-01T00:00:00Z",
    "date": "1970-01-01",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "nobody@example.com",
    "hostname": "localhost",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def fill(schema: Json, source: str, answer: str) -> Any:
    """Return a value that `schema` accepts: names and lists from `source`, free text from `answer`.

    Raises:
        ApiError: extraction cannot satisfy the schema, or the schema is too large.
    """
    from jsonschema import Draft202012Validator
    from referencing.exceptions import Unresolvable

    if _has_pattern(schema):
        _refuse("schemas with patterns: a pattern may take forever to match")
    try:
        value = _Filler(schema, source, answer, [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", source)]).value(schema, "", 0)
        fault = next(Draft202012Validator(schema).iter_errors(value), None)
    except Unresolvable as error:
        raise ApiError(400, f"Invalid schema: {error}"[:300], param=PATH, code="invalid_json_schema") from error
    except RecursionError:
        _refuse("schemas that refer to themselves in this way")
    except OverflowError:
        _refuse("schemas with numbers so large or so small")
    if fault:
        _refuse(f"this schema: by extraction it found no value for it ({fault.message[:200]})")
    return value


def _refuse(what: str) -> NoReturn:
    raise ApiError(400, f"{CHAT_MODEL} does not support {what}.", param=PATH, code="unsupported_value")


def _has_pattern(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_has_pattern, schema))
    if not isinstance(schema, dict):
        return False
    if schema.keys() & {"pattern", "patternProperties"}:
        return True
    named = [each for key in ("properties", "$defs", "definitions", "dependentSchemas") for each in _values(schema.get(key))]
    return any(map(_has_pattern, [*named, *(each for key, each in schema.items() if key not in NOT_SCHEMAS)]))


def _values(named: Any) -> list[Any]:
    return list(named.values()) if isinstance(named, dict) else []


@dataclass(slots=True)
class _Filler:
    root: Json
    source: str
    answer: str
    numbers: list[float]
    left: int = MAX_VALUES

    def spend(self, amount: int = 1) -> None:
        """Count against the size limit of a schema: a few lines can demand more than fits into memory."""
        self.left -= amount
        if self.left < 0:
            _refuse("schemas that ask for so much")

    def value(self, schema: Any, name: str, depth: int) -> Any:
        """Return a value for one schema. `name` is the property's name, which hints at its content."""
        self.spend()
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return None
        schema = self._resolved(schema)
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        if "enum" in schema:
            return self._choice(schema["enum"])
        branches = schema.get("anyOf") or schema.get("oneOf")
        if branches:
            return self._branch(branches, name, depth)
        return self._typed(schema, name, depth)

    def _typed(self, schema: Json, name: str, depth: int) -> Any:
        match _type(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer" | "number" as kind:
                return self._number(schema, whole=kind == "integer")
            case "boolean":
                return False
            case "null":
                return None
        return self._string(schema, name)

    def _resolved(self, given: Any) -> Json:
        """Return the schema behind `$ref`, with `allOf` merged; an empty one for `true` and `false`, which are schemas too."""
        self.spend()
        schema: Json = given if isinstance(given, dict) else {}
        seen = 0
        while "$ref" in schema and seen < MAX_DEPTH:
            schema, seen = {**self._target(str(schema["$ref"])), **{k: v for k, v in schema.items() if k != "$ref"}}, seen + 1
        for part in schema.get("allOf", ()):
            part = self._resolved(part)
            merged = {key: {**part.get(key, {}), **schema.get(key, {})} for key in ("properties",) if key in part or key in schema}
            required = [*schema.get("required", ()), *part.get("required", ())]
            schema = {**part, **schema, **merged, **({"required": required} if required else {})}
        return schema

    def _target(self, reference: str) -> Json:
        found: Any = self.root
        for part in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if part and isinstance(found, dict) else found
        return found if isinstance(found, dict) else {}

    def _choice(self, options: list[Any]) -> Any:
        text = self.source.lower()
        return next((each for each in options if isinstance(each, str) and each and each.lower() in text), next(iter(options), None))

    def _branch(self, branches: list[Any], name: str, depth: int) -> Any:
        useful = [branch for branch in branches if not (isinstance(branch, dict) and branch.get("type") == "null")]
        return self.value((useful or branches)[0], name, depth + 1)

    def _object(self, schema: Json, depth: int) -> Json:
        properties = schema.get("properties", {})
        wanted = [*properties, *(name for name in schema.get("required", ()) if name not in properties)]
        if depth > MAX_DEPTH // 4:  # end a recursive schema where it permits that
            wanted = list(schema.get("required", ()))
        return {name: self.value(properties.get(name, {"type": "string"}), name, depth + 1) for name in wanted}

    def _array(self, schema: Json, name: str, depth: int) -> list[Any]:
        least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", 5))  # 2.0 is an integer in JSON
        self.spend(least)
        if "prefixItems" in schema:
            return [self.value(each, name, depth + 1) for each in schema["prefixItems"]]
        items = self._resolved(schema.get("items") or {"type": "string"})
        if _type(items) == "string" and "enum" not in items and "const" not in items:
            found = extraction.keywords(self.source, max(least, min(most, 5)))
            return [_fitted(word, items) for word in found] + [_fitted(f"item {n}", items) for n in range(least - len(found))]
        if _type(items) in {"number", "integer"} and least <= len(self.numbers) and self.numbers:
            return [int(number) if _type(items) == "integer" else number for number in self.numbers[:most]]
        return [self.value(items, name, depth + 1) for _ in range(min(max(least, 1), most))] if depth < MAX_DEPTH // 4 else []

    def _number(self, schema: Json, *, whole: bool) -> float:
        low, high = schema.get("minimum"), schema.get("maximum")
        step = schema.get("multipleOf")
        if "exclusiveMinimum" in schema:
            low = schema["exclusiveMinimum"] + (step or (1 if whole else 1e-6))
        if "exclusiveMaximum" in schema:
            high = schema["exclusiveMaximum"] - (step or (1 if whole else 1e-6))
        fitting = [n for n in self.numbers if (low is None or n >= low) and (high is None or n <= high) and (not whole or n == int(n))]
        if fitting and not step:
            return int(fitting[0]) if whole else fitting[0]
        number = max(low, 0) if low is not None else min(high, 0) if high is not None else 0
        if step:
            number = -(-number // step) * step
        return int(number) if whole else number

    def _string(self, schema: Json, name: str) -> str:
        self.spend(int(schema.get("minLength", 0)))
        if schema.get("format") in FORMATS:
            return FORMATS[str(schema["format"])]
        if re.search(r"title|name|subject|topic|label|category", name, re.IGNORECASE):
            return _fitted(" ".join(extraction.keywords(self.source, 4)) or self.answer, schema)
        return _fitted(self.answer, schema)


def _type(schema: Json) -> str:
    """Return the first type that is not null; without a type, infer it from other keywords."""
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind] if kind else []
    for each in kinds:
        if each != "null":
            return str(each)
    if kinds:
        return "null"
    hints = {
        "properties": "object",
        "required": "object",
        "items": "array",
        "prefixItems": "array",
        "minimum": "number",
        "maximum": "number",
    }
    return next((kind for key, kind in hints.items() if key in schema), "string")


def _fitted(text: str, schema: Json) -> str:
    fitted = text[: int(schema.get("maxLength", len(text)))]
    return fitted.ljust(int(schema.get("minLength", 0)), ".")
