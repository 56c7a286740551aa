"""The product's style sheets."""

from __future__ import annotations

import re
from pathlib import Path

STATIC = Path(__file__).parent.parent / "webapp" / "static"
STYLES = {path.name: path.read_text() for path in sorted((STATIC / "css").glob("*.css"))}
FROM_DJANGO = {"admin.css"}
"""Style sheets that also set properties of Django's own admin."""


def test_each_custom_property_in_use_is_defined() -> None:
    text = "".join(STYLES.values())
    defined = set(re.findall(r"(--[\w-]+):", text))
    assert set(re.findall(r"var\((--[\w-]+)", text)) - defined == set()


def test_each_custom_property_is_in_use() -> None:
    used = set(re.findall(r"var\((--[\w-]+)", "".join(STYLES.values())))
    defined = {name for sheet, text in STYLES.items() if sheet not in FROM_DJANGO for name in re.findall(r"(--[\w-]+):", text)}
    assert defined - used == set()
