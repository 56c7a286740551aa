"""Run each seed in a process of its own, a copy of this one: no run can leave anything behind for another."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Iterable, Iterator

from tests.simulation.run import Result, run


def run_all(seeds: Iterable[int], *, only: str, jobs: int) -> Iterator[Result]:
    """Yield the results of the seeds as they end, with so many at the same time."""
    waiting = list(reversed(list(seeds)))
    running: dict[int, tuple[int, int]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            seed = waiting.pop()
            pid, pipe = _start(seed, only)
            running[pid] = seed, pipe
        pid, _ = os.wait()
        yield _result(*running.pop(pid))


def _start(seed: int, only: str) -> tuple[int, int]:
    """Start a run; return its process id, and the pipe that its result comes from."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        os.write(writing, pickle.dumps(run(seed, only)))
    except BaseException as error:  # noqa: BLE001 - the parent reports it
        traceback.print_exc()
        os.write(writing, pickle.dumps(Result(seed, "", 0.0, f"the simulation failed: {error!r}")))
    finally:
        os._exit(0)  # without finalizers: the coroutines of killed processes must not run theirs
    raise AssertionError


def _result(seed: int, pipe: int) -> Result:
    with os.fdopen(pipe, "rb") as source:
        data = source.read()
    result: Result = pickle.loads(data) if data else Result(seed, "", 0.0, "its process was killed")
    return result
