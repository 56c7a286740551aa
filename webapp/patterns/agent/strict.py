"""Convert schemas for OpenAI's strict mode: every property required, no others allowed, no unsupported keyword.

An optional property becomes nullable instead, and `without_nulls` removes those nulls from the answer. Constraints that strict mode lacks
move into the description, for the model to read. The answer is validated against the original schema in any case.
"""

from __future__ import annotations

from typing import Any

from webapp.patterns.types import Json

NOTES = {"default", "title", "examples", "$comment", "deprecated", "readOnly", "writeOnly", "discriminator", "$schema", "$id"}
"""Keywords that are only informative."""
TOLD = {"minLength", "maxLength", "uniqueItems", "minProperties", "maxProperties", "contentMediaType", "contentEncoding"}
"""Constraints that strict mode refuses but a model can read."""
IMPOSSIBLE = {
    "allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties", "propertyNames",
    "unevaluatedProperties", "unevaluatedItems", "prefixItems", "contains",
}  # fmt: skip
MAX_REFERENCES = 20
FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}


class NotStrictError(Exception):
    """Report that strict mode cannot express a schema."""


def strict(schema: Json) -> Json | None:
    """Return the schema for strict mode; None if it cannot be expressed (free-form objects, tuples, conditions)."""
    try:
        return _object_at_root(_rewritten(schema))
    except (NotStrictError, RecursionError):
        return None


def without_nulls(value: Any, schema: Any, root: Json) -> Any:
    """Return the answer without nulls for omitted properties: those that `schema` neither requires nor allows to be null."""
    schema = resolved(schema, root)
    if isinstance(value, list):
        return [without_nulls(item, schema.get("items", {}), root) for item in value]
    if not isinstance(value, dict):
        return value
    properties = _properties(schema, root)
    kept = {name: item for name, item in value.items() if item is not None or name not in properties or _takes_null(properties[name], root)}
    return {name: without_nulls(item, properties.get(name, {}), root) for name, item in kept.items()}


def resolved(schema: Any, root: Json) -> Json:
    """Return the schema that a `$ref` into the same document points to."""
    for _ in range(MAX_REFERENCES):
        if not isinstance(schema, dict) or "$ref" not in schema:
            break
        schema = _target(str(schema["$ref"]), root)
    return schema if isinstance(schema, dict) else {}


def _target(reference: str, root: Json) -> Any:
    found: Any = root
    for part in filter(None, reference.removeprefix("#").split("/")):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found


def definitions(schema: Json) -> Json:
    """Return the targets of a schema's references, under their key."""
    return {key: schema[key] for key in ("$defs", "definitions") if key in schema}


def _properties(schema: Json, root: Json) -> Json:
    """Return the properties of an object schema; for a choice, those of all its branches."""
    found: Json = {}
    for branch in _branches(schema):
        found |= _properties(resolved(branch, root), root)
    found |= schema.get("properties", {})
    return found


def _takes_null(schema: Any, root: Json) -> bool:
    schema = resolved(schema, root)
    kind = schema.get("type")
    if kind == "null" or (isinstance(kind, list) and "null" in kind) or None in schema.get("enum", ()):
        return True
    branches = _branches(schema)
    return any(_takes_null(branch, root) for branch in branches) or not (kind or branches or schema.keys() & {"enum", "const"})


def _branches(schema: Json) -> list[Any]:
    return list(schema.get("anyOf") or schema.get("oneOf") or ())


def _rewritten(schema: Any) -> Json:
    if not isinstance(schema, dict) or schema.keys() & IMPOSSIBLE:
        raise NotStrictError
    if "$ref" in schema:
        return _reference(schema)
    rewritten: Json = {key: value for key, value in schema.items() if key not in NOTES | TOLD}
    if "oneOf" in rewritten:
        rewritten["anyOf"] = rewritten.pop("oneOf")
    if rewritten.get("format") not in FORMATS:
        rewritten.pop("format", None)
    _tell(rewritten, schema)
    rewritten |= _defined(schema)
    if "anyOf" in rewritten:
        rewritten["anyOf"] = [_rewritten(each) for each in rewritten["anyOf"]]
    if "items" in schema:
        rewritten["items"] = _rewritten(schema["items"])
    if "object" in _kinds(schema) or "properties" in schema:
        _close(rewritten, schema)
    return rewritten


def _reference(schema: Json) -> Json:
    """Return a reference alone, as strict mode requires, except for the definitions at the root."""
    defined = _defined(schema)
    if schema.keys() - NOTES - {"$ref", "description", *defined}:
        raise NotStrictError
    return {"$ref": schema["$ref"], **defined}


def _defined(schema: Json) -> Json:
    return {key: {name: _rewritten(each) for name, each in defined.items()} for key, defined in definitions(schema).items()}


def _close(rewritten: Json, schema: Json) -> None:
    """Make all properties required, and forbid others."""
    if schema.get("additionalProperties", False) is not False or "properties" not in schema:
        raise NotStrictError
    required = schema.get("required", ())
    properties = {name: _rewritten(each) for name, each in schema["properties"].items()}
    rewritten["properties"] = {name: each if name in required else _nullable(each) for name, each in properties.items()}
    rewritten["required"] = list(properties)
    rewritten["additionalProperties"] = False


def _nullable(schema: Json) -> Json:
    return schema if _takes_null(schema, {}) else {"anyOf": [schema, {"type": "null"}]}


def _tell(rewritten: Json, schema: Json) -> None:
    told = ", ".join(f"{key}: {schema[key]}" for key in sorted(TOLD & schema.keys()))
    if told:
        rewritten["description"] = f"{schema.get('description', '')} ({told})".strip()


def _kinds(schema: Json) -> list[Any]:
    kind = schema.get("type")
    return kind if isinstance(kind, list) else [kind]


def _object_at_root(schema: Json) -> Json:
    if "$ref" in schema:  # a recursive model, whose definition is the root
        schema = {**resolved(schema, schema), **definitions(schema)}
    if schema.get("type") != "object":
        raise NotStrictError
    return schema
