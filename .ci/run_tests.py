"""Run the tests; run those that failed once more, alone, and name each that passes only then.

Arguments go to pytest's first run. The exit code is that of the last run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LAST_FAILED = Path(__file__).resolve().parents[1] / ".pytest_cache" / "v" / "cache" / "lastfailed"


def failed() -> set[str]:
    """Return the ids of the tests that failed in the last run."""
    return set(json.loads(LAST_FAILED.read_text())) if LAST_FAILED.exists() else set()


def main(arguments: list[str]) -> int:
    """Run pytest once or twice and report the unstable tests."""
    pytest = [sys.executable, "-m", "pytest"]
    LAST_FAILED.unlink(missing_ok=True)
    first = subprocess.run([*pytest, *arguments], check=False).returncode
    unstable = failed()
    if first == 0 or not unstable:
        return first
    print(f"{len(unstable)} failed; running each once more, alone:", flush=True)
    second = subprocess.run([*pytest, "-m", "not slow", "--last-failed"], check=False).returncode
    unstable -= failed()
    print(f"{len(unstable)} unstable tests passed only when run again:")
    for test in sorted(unstable):
        print(f"  {test}")
    return second


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
