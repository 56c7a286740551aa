"""Tests of docs/reference.md, which is generated from the docstrings of the patterns."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

import webapp.patterns

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """The names of .ci/write_reference.py."""
    return runpy.run_path(str(ROOT / ".ci" / "write_reference.py"))


def test_the_reference_is_current(script: dict[str, Any]) -> None:
    assert (ROOT / "docs" / "reference.md").read_text() == script["page"](), "run `make reference`"


def test_every_public_name_is_in_the_reference(script: dict[str, Any]) -> None:
    text = script["page"]()
    assert [name for name in webapp.patterns.__all__ if f"\n### {name}\n" not in text] == []


def test_the_sections_of_a_docstring_become_lists(script: dict[str, Any]) -> None:
    docstring = """Send a request.

    Args:
        name: for trails
            and messages.

    Raises:
        BackendError: it failed.
    """
    expected = "Send a request.\n\n*Args:*\n\n- `name`: for trails and messages.\n\n*Raises:*\n\n- `BackendError`: it failed."
    assert script["_markdown"](docstring) == expected


def test_a_name_without_a_definition_is_an_error(script: dict[str, Any]) -> None:
    with pytest.raises(LookupError, match=r"errors\.py does not define Nothing"):
        script["find"](ROOT / "webapp" / "patterns" / "errors.py", "Nothing")
