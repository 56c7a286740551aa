"""The product's own JavaScript."""

from __future__ import annotations

import zlib
from pathlib import Path

STATIC = Path(__file__).parent.parent / "webapp" / "static"
SCRIPTS = sorted((STATIC / "js").glob("*.js"))
MAX_COMPRESSED_BYTES = 60_000


def test_all_scripts_together_stay_light() -> None:
    """A page loads a few of them; compressed, all of them fit into the budget of one page."""
    assert 0 < sum(len(zlib.compress(script.read_bytes())) for script in SCRIPTS) < MAX_COMPRESSED_BYTES


def test_each_script_starts_with_its_purpose() -> None:
    assert [script.name for script in SCRIPTS if not script.read_text().startswith("// ")] == []
