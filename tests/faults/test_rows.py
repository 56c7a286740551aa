"""Every row of the list of faults has a test that says so, and that `make test` runs."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
ROWS = {
    "rendering": range(1, 7),
    "access": range(7, 13),
    "egress and keys": range(13, 19),
    "files and bodies": range(19, 24),
    "chat and streams": range(24, 32),
    "what backends really do in a stream": range(32, 41),
    "batches": range(41, 46),
    "search and database": range(46, 51),
}
CLAIM = re.compile(r"FAULTS\s+((?:\d+(?:\s*-\s*\d+)?)(?:(?:,\s*|\s+and\s+)\d+(?:\s*-\s*\d+)?)*)")


def rows_in(text: str) -> set[int]:
    """The rows that a text claims: `FAULTS 7`, `FAULTS 1, 3`, `FAULTS 5 and 19`, `FAULTS 32-36`."""
    rows: set[int] = set()
    for listed in CLAIM.findall(text):
        for first, last in re.findall(r"(\d+)(?:\s*-\s*(\d+))?", listed):
            rows |= set(range(int(first), int(last or first) + 1))
    return rows


def claims(source: str) -> Iterator[str]:
    """The docstrings of a test module, of its classes, and of its tests that are not slow."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    daily = [test for test in functions if test.name.startswith("test_") and not _slow(test)]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test")]
    for node in [tree, *classes, *daily] if daily else []:
        yield ast.get_docstring(node) or ""


def _slow(test: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return "pytest.mark.slow" in [ast.unparse(mark) for mark in test.decorator_list]


@functools.cache
def claimed() -> set[int]:
    files = [path for path in TESTS.rglob("test_*.py") if path != Path(__file__)]
    return {row for path in files for text in claims(path.read_text()) for row in rows_in(text)}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("FAULTS 7", {7}),
        ("of FAULTS 1, 3: two", {1, 3}),
        ("FAULTS 5 and 19.", {5, 19}),
        ("FAULTS 14, 15, 35-37)", {14, 15, 35, 36, 37}),
        ("FAULTS 29, for a relay. 3 more", {29}),
        ("no faults 3", set()),
    ],
)
def test_a_claim_is_read(text: str, rows: set[int]) -> None:
    assert rows_in(text) == rows


def test_a_slow_test_alone_claims_nothing() -> None:
    assert list(claims('"""FAULTS 1."""\n@pytest.mark.slow\ndef test_x() -> None:\n    """FAULTS 2."""')) == []


@pytest.mark.parametrize("room", ROWS)
def test_every_row_has_a_test(room: str) -> None:
    assert sorted(set(ROWS[room]) - claimed()) == []
