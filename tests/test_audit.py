"""`make audit` says what it found, and what it could not look up."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / ".ci" / "audit.py"
SOUND: dict[str, Any] = {"name": "django", "version": "5.2.9", "vulns": []}
SKIPPED: dict[str, Any] = {"name": "openai", "skip_reason": "Dependency not found on PyPI"}
FLAWED: dict[str, Any] = {
    "name": "twisted",
    "version": "1.0",
    "vulns": [{"id": "CVE-1", "fix_versions": ["1.1", "2.0"]}, {"id": "CVE-2", "fix_versions": []}],
}


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_vulnerable_package_fails_it_with_the_cure(audit: ModuleType) -> None:
    lines, status = audit.report([SOUND, FLAWED, SKIPPED])
    assert status == 1
    assert lines == [
        "twisted 1.0: CVE-1, fixed in 1.1, 2.0",
        "twisted 1.0: CVE-2, fixed in no release yet",
        "not checked: openai",
        "audit: 1 of 3 packages have known vulnerabilities",
    ]


def test_sound_packages_pass(audit: ModuleType) -> None:
    assert audit.report([SOUND]) == (["audit: 0 of 1 packages have known vulnerabilities"], 0)


def test_an_index_without_advisories_is_no_good_news(audit: ModuleType) -> None:
    lines, status = audit.report([SKIPPED, SKIPPED])
    assert (status, len(lines)) == (0, 1)
    assert "skipped" in lines[0]
