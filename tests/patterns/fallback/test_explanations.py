"""Failures in words."""

from __future__ import annotations

from webapp.patterns import errors
from webapp.patterns.fallback.explanations import EXPLANATIONS, explain


def descendants(kind: type[errors.BackendError]) -> set[type[errors.BackendError]]:
    found = {kind}
    for each in kind.__subclasses__():
        found |= descendants(each)
    return found


def test_every_error_of_a_backend_has_a_title_and_an_effect() -> None:
    kinds = {kind.__name__ for kind in descendants(errors.BackendError) if kind.__module__ == errors.__name__}
    assert {name for name in kinds if not (name in EXPLANATIONS and EXPLANATIONS[name].effect)} == set()


def test_an_effect_agrees_with_the_attributes_of_its_class() -> None:
    for kind in descendants(errors.BackendError) - {errors.BackendError, errors.StreamBroken}:
        if kind.__module__ == errors.__name__:
            effect = explain(kind.__name__).effect
            assert ("five such failures" in effect) == kind.counts, kind
            assert ("needs attention" in effect) == kind.flag, kind
            assert ("caller gets this error" in effect) != kind.try_next, kind


def test_an_unknown_name_becomes_words() -> None:
    assert explain("SomethingNew").title == "Something new"
    assert explain("insufficient_quota").title == "Insufficient quota"
    assert explain("").title == ""
