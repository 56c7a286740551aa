"""Schemas for OpenAI's strict mode."""

from __future__ import annotations

from typing import Any

import pytest

from webapp.patterns.agent.strict import resolved, strict, without_nulls

REF = {"$ref": "#/$defs/A"}


def of(schema: Any) -> Any:
    """The strict form of a property."""
    rewritten = strict({"type": "object", "properties": {"p": schema}, "required": ["p"]})
    return rewritten and rewritten["properties"]["p"]


def test_all_properties_are_required_and_no_others_allowed() -> None:
    schema = {
        "type": "object",
        "title": "T",
        "properties": {"a": {"type": "string", "default": "x"}, "b": {"type": ["integer", "null"]}, "c": {"type": "number"}},
        "required": ["c"],
    }
    assert strict(schema) == {
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "b": {"type": ["integer", "null"]},
            "c": {"type": "number"},
        },
        "required": ["a", "b", "c"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("schema", "rewritten"),
    [
        ({"type": "string", "minLength": 3}, {"type": "string", "description": "(minLength: 3)"}),
        ({"type": "string", "description": "A name.", "maxLength": 9}, {"type": "string", "description": "A name. (maxLength: 9)"}),
        ({"type": "string", "format": "uuid"}, {"type": "string", "format": "uuid"}),
        ({"type": "string", "format": "binary"}, {"type": "string"}),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": "array", "items": {"enum": [1], "title": "I"}, "minItems": 1}, {"type": "array", "items": {"enum": [1]}, "minItems": 1}),
        ({**REF, "description": "An A."}, REF),
    ],
)
def test_what_strict_mode_does_not_know_is_told_or_left_out(schema: Any, rewritten: Any) -> None:
    assert of(schema) == rewritten


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"allOf": [REF]},
        {"type": "array", "prefixItems": []},
        {**REF, "minimum": 3},
        {"not": {}},
        True,
    ],
)
def test_what_it_cannot_say_at_all_is_not_strict(schema: Any) -> None:
    assert of(schema) is None


def test_the_root_must_be_an_object() -> None:
    assert strict({"type": "array", "items": {"type": "string"}}) is None


def test_definitions_are_rewritten_and_a_reference_at_the_root_is_followed() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    rewritten = strict({"$ref": "#/$defs/Node", "$defs": {"Node": node}})
    assert rewritten
    assert rewritten["type"] == "object"
    assert rewritten["required"] == ["next"]
    assert rewritten["$defs"]["Node"]["additionalProperties"] is False


@pytest.mark.parametrize("reference", ["#/$defs/B", "#/x/y/z", "#/$defs/A/type/deep"])
def test_a_reference_to_nowhere_is_an_empty_schema(reference: str) -> None:
    assert resolved({"$ref": reference}, {"$defs": {"A": {"type": "object"}}}) == {}


def test_references_in_a_circle_end() -> None:
    assert resolved(REF, {"$defs": {"A": REF}}) == REF


def test_a_key_with_a_slash_is_found() -> None:
    assert resolved({"$ref": "#/$defs/a~1b~0"}, {"$defs": {"a/b~": {"type": "null"}}}) == {"type": "null"}


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        ({"type": "integer"}, False),
        ({"type": "null"}, True),
        ({"type": ["integer", "null"]}, True),
        ({"enum": [1, None]}, True),
        ({"enum": [1]}, False),
        ({"const": 3}, False),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, True),
        ({"anyOf": [{"type": "integer"}]}, False),
        ({}, True),
        (REF, False),
    ],
)
def test_a_null_is_taken_out_where_the_schema_has_none(schema: Any, kept: bool) -> None:
    root = {"type": "object", "properties": {"p": schema}, "$defs": {"A": {"type": "string"}}}
    assert without_nulls({"p": None, "other": None}, root, root) == ({"p": None, "other": None} if kept else {"other": None})


def test_nulls_are_taken_out_at_every_depth_and_in_every_branch() -> None:
    branch = {"type": "object", "properties": {"n": {"type": "integer"}}}
    root = {"type": "array", "items": {"oneOf": [{"type": "string"}, branch]}}
    assert without_nulls([{"n": None}, "x", {"n": 3}], root, root) == [{}, "x", {"n": 3}]
