"""Run seeds: `python -m tests.simulation --seeds 100`, or one again: `--seed 17 --trace`."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.run import Result

_real_time = time.monotonic
MOST_MEMORY = 4 * 1024**3


def main() -> int:
    """Run the seeds that the arguments name; return 1 if an invariant broke."""
    arguments = _arguments()
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of texts must have the same order in each run
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"})
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))  # a run that never ends must not take the machine with it
    _install()
    return _run(arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="number of seeds to run")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="run only this one")
    parser.add_argument("--only", default="", help="run only this scenario")
    parser.add_argument("--jobs", type=int, default=1, help="seeds that run at the same time")
    parser.add_argument("--print", action="store_true", help="print the fingerprint of each run")
    parser.add_argument("--twice", action="store_true", help="run each seed twice, and compare the traces")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    parser.add_argument("--log", action="store_true", help="print the product's log")
    return parser.parse_args()


def _install() -> None:
    """Replace clocks and randomness before the product is imported, and create the database."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.simulation.settings"
    import tests.simulation.settings  # noqa: F401 - it makes a folder with a random name, before names follow from the seed
    from tests.simulation.machine import clock, entropy

    clock.install()
    entropy.install()
    import django

    django.setup()
    from tests.simulation.machine import database

    database.prepare()


def _run(arguments: argparse.Namespace) -> int:
    import logging

    from tests.simulation.machine import world
    from tests.simulation.processes import run_all

    if not arguments.log:
        logging.disable(logging.CRITICAL)
    if arguments.trace:
        world.TRACE = print
    seeds = [arguments.seed] if arguments.seed is not None else list(range(arguments.first, arguments.first + arguments.seeds))
    began = _real_time()
    hours, broken = _report(
        run_all(seeds * (2 if arguments.twice else 1), only=arguments.only, jobs=arguments.jobs), traced=arguments.print
    )
    print(f"{len(seeds)} seeds, {hours:.0f} virtual hours in {_real_time() - began:.0f} s, {broken} broken")
    return 1 if broken else 0


def _report(results: Iterable[Result], *, traced: bool) -> tuple[float, int]:
    """Print what broke; return the virtual hours and the number of broken seeds."""
    traces: dict[int, str] = {}
    seconds, broken = 0.0, set()
    for result in results:
        seconds += result.seconds
        if traced:
            print(f"seed {result.seed}: trace {result.trace}")
        if traces.setdefault(result.seed, result.trace) != result.trace:
            print(f"seed {result.seed} is not deterministic: {traces[result.seed]} and {result.trace}")
            broken.add(result.seed)
        if result.broken and result.seed not in broken:
            broken.add(result.seed)
            print(f"seed {result.seed}: {result.broken}\n  again: python -m tests.simulation --seed {result.seed}", flush=True)
    return seconds / 3600, len(broken)


if __name__ == "__main__":
    sys.exit(main())
