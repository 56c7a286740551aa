"""A few seeds of the simulation, and the proof that a seed repeats its run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)  # on a busy machine
ROOT = Path(__file__).parents[2]
SEEDS = 8


def simulate(*arguments: str) -> str:
    """Run seeds in a process of their own, because the simulation replaces its clocks; return what it printed."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=570, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_no_invariant_breaks_in_the_seeds_of_the_suite() -> None:
    assert f"{SEEDS} seeds" in simulate("--seeds", str(SEEDS), "--jobs", "2")


def test_a_seed_repeats_its_run_exactly() -> None:
    traces = [re.findall(r"trace ([0-9a-f]+)", simulate("--seed", "3", "--print")) for _ in range(2)]
    assert traces[0] == traces[1]
    assert traces[0]
