#!/usr/bin/env python3
"""List known vulnerabilities of the locked packages with pip-audit, in a temporary environment.

The exit code is 1 if there are any. Without a source of advisories (no network, an index without them) it says so and exits 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
LOCKS = ("dev.txt", "model.txt")  # dev holds base, scale, oidc and otel
SERVICES = ("pypi", "osv")
PATIENCE_SECONDS = 300

Dependency = dict[str, Any]


def main() -> int:
    """Audit the locked packages with pip-audit, and return the exit status: 1 when a known vulnerability affects one."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        try:
            run(folder, "pip", "install", "--quiet", "--require-hashes", "-r", str(REQUIREMENTS / "audit.txt"))
            found = next((found for service in SERVICES if answers(found := ask(folder, service))), [])
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            print(f"audit: skipped, since pip-audit could not be installed or run here: {reason(error)}")
            return 0
    lines, status = report(found)
    print("\n".join(lines))
    return status


def run(folder: str, *module: str) -> str:
    """Run a module of the environment and return its output. pip-audit exits with 1 if it finds something."""
    command = [f"{folder}/bin/python", "-m", *module]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    if done.returncode and not done.stdout:
        raise subprocess.CalledProcessError(done.returncode, module[0], stderr=done.stderr)
    return done.stdout


def ask(folder: str, service: str) -> list[Dependency]:
    """Return every locked package with its vulnerabilities, or the reason why it was skipped. Nothing is installed for it."""
    locks = [word for lock in LOCKS for word in ("-r", str(REQUIREMENTS / lock))]
    options = ["--format", "json", "--progress-spinner", "off", "--vulnerability-service", service, "--require-hashes", "--disable-pip"]
    return list(json.loads(run(folder, "pip_audit", *options, *locks))["dependencies"])


def answers(found: list[Dependency]) -> bool:
    """Return whether any package was checked: a mirror without advisories skips all of them."""
    return any("vulns" in one for one in found)


def report(found: list[Dependency]) -> tuple[list[str], int]:
    """Return the lines to print and the exit status."""
    if not answers(found):
        return ["audit: skipped, since no source of advisories can be reached from here"], 0
    lines = [
        f"{one['name']} {one['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no release yet'}"
        for one in found
        for flaw in one.get("vulns", ())
    ]
    skipped = [one["name"] for one in found if "vulns" not in one]
    if skipped:
        lines.append(f"not checked: {', '.join(skipped)}")
    vulnerable = sum(bool(one.get("vulns")) for one in found)
    return [*lines, f"audit: {vulnerable} of {len(found)} packages have known vulnerabilities"], int(vulnerable > 0)


def reason(error: Exception) -> str:
    """Return the last line of an error's output."""
    said = getattr(error, "stderr", "") or str(error)
    return next((line.strip() for line in reversed(said.splitlines()) if line.strip()), type(error).__name__)


if __name__ == "__main__":
    sys.exit(main())
