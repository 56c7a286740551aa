#!/usr/bin/env python3
"""Write what Patchbay consists of: `sbom.json` in CycloneDX format, and docs/licenses.md.

`sbom.py` writes the SBOM with cyclonedx-py, which it installs into a temporary environment, and checks docs/licenses.md.
`sbom.py --licenses` rewrites docs/licenses.md. Run it with the interpreter of the development environment: packages are read from there.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("base", "model", "scale", "oidc", "otel", "s3")
LICENSES = ROOT / "docs" / "licenses.md"
PINS = ("webapp/static/vendor/pins.json", "webapp/rendering/vendor/pins.json")
"""The components that the repository holds copies of, with version, license, and the hash of each file."""
_HEAD = """# Licenses

The packages that Patchbay installs, from the locks in `requirements/`, and the components that this repository holds copies of. Written by
`.ci/sbom.py --licenses`.

"""
_PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)((?:.|\n(?!\S))*)", re.MULTILINE)


def main(arguments: list[str]) -> int:
    """Write the files that the arguments ask for; return 1 if docs/licenses.md is out of date."""
    if "--licenses" in arguments:
        LICENSES.write_text(licenses())
        return 0
    (ROOT / "sbom.json").write_text(json.dumps(bom(), indent=1) + "\n")
    print(f"sbom.json: {len(locked())} packages, {len(pinned_copies())} copies")
    if LICENSES.read_text() != licenses():
        print("docs/licenses.md is out of date: run .ci/sbom.py --licenses")
        return 1
    return 0


def locked() -> dict[str, tuple[str, list[str]]]:
    """Return the version and the SHA-256 hashes of each locked package, by normalized name."""
    found = {}
    for lock in LOCKS:
        for name, version, rest in _PINNED.findall((ROOT / "requirements" / f"{lock}.txt").read_text()):
            found[normalized(name)] = (version, re.findall(r"sha256:([0-9a-f]{64})", rest))
    return found


def normalized(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licenses() -> str:
    """Return the text of docs/licenses.md. Packages of other platforms, which are not installed here, have no license listed."""
    rows = [(name, license_of(name)) for name in sorted(locked())]
    rows += [(f"{name} (copy in `{folder}`)", copy["license"]) for name, (folder, copy) in sorted(pinned_copies().items())]
    return _HEAD + "| component | license |\n|---|---|\n" + "".join(f"| {name} | {kind} |\n" for name, kind in rows)


def license_of(name: str) -> str:
    """Return a package's license as its metadata names it."""
    try:
        fields = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return "of another platform or Python"
    if expression := fields.get("License-Expression"):
        return str(expression)
    classifiers = [c.rpartition(" :: ")[2] for c in fields.get_all("Classifier") or () if c.startswith("License :: ")]
    text = str(fields.get("License") or "").strip().partition("\n")[0]
    return ", ".join(sorted(set(classifiers) - {"OSI Approved"})) or text[:60] or "see its files"


def bom() -> dict[str, Any]:
    """Return the CycloneDX document of the locked packages and of the copies in the repository."""
    document = from_environment()
    pinned = locked()
    kept = []
    for component in document.get("components", ()):
        version, hashes = pinned.get(normalized(component["name"]), ("", []))
        if version:
            kept.append({**component, "hashes": [{"alg": "SHA-256", "content": value} for value in hashes]})
    return {**document, "components": kept + list(copies())}


def from_environment() -> dict[str, Any]:
    """Return what cyclonedx-py says of this environment."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = f"{folder}/bin/python"
        lock = str(ROOT / "requirements" / "sbom.txt")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock], check=True)
        command = [
            python,
            "-m",
            "cyclonedx_py",
            "environment",
            "--output-reproducible",
            "--pyproject",
            str(ROOT / "pyproject.toml"),
            sys.executable,
        ]
        document: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return document


def copies() -> Iterator[dict[str, Any]]:
    """Yield a component for each copy in the repository, with its files and their hashes."""
    for name, (folder, copy) in sorted(pinned_copies().items()):
        files = [
            {"type": "file", "name": f"{folder}/{path}", "hashes": [{"alg": "SHA-256", "content": value}]}
            for path, value in copy["files"].items()
        ]
        version = copy["version"].partition(",")[0]
        yield {
            "type": "library",
            "name": name,
            "version": version,
            "licenses": [{"license": {"name": copy["license"]}}],
            "components": files,
        }


def pinned_copies() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the folder and the pin of each copy, by name."""
    found = {}
    for path in PINS:
        for name, copy in json.loads((ROOT / path).read_text()).items():
            found[name] = (str(Path(path).parent), copy)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
