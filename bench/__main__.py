"""Run the benchmarks: `python -m bench` runs all of them, `python -m bench NAME [arguments]` one. Each defines `main()`."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

import bench


def modules() -> list[str]:
    """Return the names of the modules of this folder."""
    return [module.name for module in pkgutil.iter_modules(bench.__path__) if not module.name.startswith("_")]


def benchmarks() -> list[str]:
    """Return the names of the modules that define `main()`. Importing them may configure Django."""
    return [name for name in modules() if hasattr(importlib.import_module(f"bench.{name}"), "main")]


def run() -> int:
    """Run the named benchmark, or all of them, and return the exit status."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    chosen, arguments = (sys.argv[1:2], sys.argv[2:]) if len(sys.argv) > 1 else (benchmarks(), [])
    if unknown := set(chosen) - set(modules()):
        print(f"No benchmark named {', '.join(unknown)}. There are: {', '.join(benchmarks())}.", file=sys.stderr)
        return 2
    for name in chosen:
        print(f"\n== {name}", flush=True)
        sys.argv = [f"bench.{name}", *arguments]
        importlib.import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    raise SystemExit(run())
