"""Rules for JSON values: what passes, what is refused and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from webapp.patterns.errors import InputError
from webapp.patterns.openai import json_rules

NUMBER = json_rules.Number(0, 2)
MODE = json_rules.Choice(("fast", "slow"))
SHAPE = json_rules.OneOf(
    (MODE, json_rules.Boolean(), json_rules.Nullable(json_rules.Array(NUMBER, most=2)), json_rules.Map(NUMBER, most=1, name_chars=3))
)
KIND = json_rules.Discriminated("type", {"text": json_rules.Object({"text": json_rules.String()}, required=("text",))})


@pytest.mark.parametrize("value", ["fast", True, None, [], [0, 2], {}, {"abc": 1}])
def test_a_value_obeys_the_first_rule_whose_type_it_has(value: Any) -> None:
    SHAPE.check(value, "shape")


@pytest.mark.parametrize(
    ("value", "code", "param"),
    [
        ("other", "invalid_value", "shape"),
        (1.5, "invalid_type", "shape"),
        ([3], "decimal_above_max_value", "shape[0]"),
        ([1, 1, 1], "array_above_max_length", "shape"),
        ({"a": 1, "b": 1}, "object_above_max_length", "shape"),
        ({"long name": 1}, "string_above_max_length", "shape"),
        ({"a": "x"}, "invalid_type", "shape.a"),
    ],
)
def test_a_value_that_disobeys_is_named_with_its_path(value: Any, code: str, param: str) -> None:
    with pytest.raises(InputError) as caught:
        SHAPE.check(value, "shape")
    assert (caught.value.code, caught.value.param) == (code, param)


def test_the_choice_of_types_is_said_in_words() -> None:
    with pytest.raises(InputError, match=r"expected one of 'fast', 'slow' or a boolean or an array of .* or an object, but got"):
        SHAPE.check(7.5, "shape")
    nested = json_rules.Array(json_rules.Array(json_rules.Integer()))
    with pytest.raises(InputError, match="expected an array of arrays of integers, but got"):
        nested.check(7, "ids")


def test_a_tag_decides_what_an_object_must_have() -> None:
    KIND.check({"type": "text", "text": "hi"}, "part")
    assert KIND.fits({})
    assert not KIND.fits([])
    for wrong in ({"type": "text"}, {"type": "film"}, {}):
        with pytest.raises(InputError, match="part"):
            KIND.check(wrong, "part")


def test_an_open_tag_lets_unknown_kinds_pass() -> None:
    json_rules.Discriminated("type", {}, open=True).check({"type": "film", "reel": 1}, "part")


@pytest.mark.parametrize("rule", [json_rules.Boolean(), MODE, json_rules.Object(), json_rules.Map(NUMBER), json_rules.Nullable(NUMBER)])
def test_a_rule_knows_its_type(rule: json_rules.Rule) -> None:
    values: list[Any] = [True, "fast", {}, 1.5, None]
    fitting = [value for value in values if rule.fits(value)]
    assert fitting in ([True], ["fast"], [{}], [1.5, None])
