"""The vendored npm files are the pinned ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "webapp"
PLACES = [ROOT / "rendering" / "vendor", ROOT / "static" / "vendor"]


@pytest.mark.parametrize("place", [place for place in PLACES if place.exists()], ids=lambda place: place.parent.name)
def test_each_vendored_file_has_its_pinned_hash(place: Path) -> None:
    pins = json.loads((place / "pins.json").read_text("utf-8"))
    pinned = {name: hash_ for package in pins.values() for name, hash_ in package["files"].items()}
    found = {str(path.relative_to(place)): path for path in place.rglob("*") if path.is_file()}
    assert set(found) - {"pins.json", "README.md"} == set(pinned)
    for name, expected in pinned.items():
        assert hashlib.sha256(found[name].read_bytes()).hexdigest() == expected, name
