"""The SBOM and docs/licenses.md name every locked package and every copy."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / ".ci" / "sbom.py"
UNKNOWN = ("see its files", "of another platform or Python")


@pytest.fixture
def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_component_is_listed_with_its_license(sbom: ModuleType) -> None:
    listed = dict(line.strip("| ").split(" | ") for line in sbom.LICENSES.read_text().splitlines() if line.startswith("| "))
    expected = dict(line.strip("| ").split(" | ") for line in sbom.licenses().splitlines() if line.startswith("| "))
    assert listed.keys() == expected.keys(), "run .ci/sbom.py --licenses"
    assert {name: kind for name, kind in listed.items() if UNKNOWN[1] not in (kind, expected[name])} == {
        name: kind for name, kind in expected.items() if UNKNOWN[1] not in (kind, listed[name])
    }
    assert {"django", "openai", "channels"} <= listed.keys()


def test_each_locked_package_has_a_version_and_hashes(sbom: ModuleType) -> None:
    packages = sbom.locked()
    assert len(packages) > 100
    assert all(version and hashes for version, hashes in packages.values())


def test_the_document_holds_what_is_locked_and_what_is_copied(sbom: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    version = sbom.locked()["django"][0]
    environment: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "components": [{"name": "Django", "version": version}, {"name": "pytest", "version": "9"}],
    }
    monkeypatch.setattr(sbom, "from_environment", lambda: environment)
    components = {component["name"]: component for component in sbom.bom()["components"]}
    assert components.keys() == {"Django", "mermaid", "stix", "temml"}
    assert components["Django"]["hashes"][0]["alg"] == "SHA-256"
    assert [file["name"] for file in components["stix"]["components"]][-1].endswith("STIXTwoMath-Regular.ttf")
