"""The product's own JavaScript."""

from __future__ import annotations

from pathlib import Path

SCRIPTS = sorted((Path(__file__).parent.parent / "webapp/static/js").glob("*.js"))


def test_all_of_it_stays_under_three_hundred_lines() -> None:
    assert 0 < sum(len(script.read_text().splitlines()) for script in SCRIPTS) < 300


def test_each_file_says_what_it_is_for() -> None:
    assert [script.name for script in SCRIPTS if not script.read_text().startswith("// ")] == []
