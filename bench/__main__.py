"""`python -m bench` runs every benchmark here, `python -m bench NAME [arguments]` one of them: the modules that define `main()`."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import bench


def benchmarks() -> list[str]:
    """The names of the modules that define `main()`."""
    names = [module.name for module in pkgutil.iter_modules(bench.__path__) if not module.name.startswith("_")]
    return [name for name in names if hasattr(importlib.import_module(f"bench.{name}"), "main")]


def run() -> int:
    """Run what the command line names, or all; the exit status."""
    known = benchmarks()
    chosen, arguments = (sys.argv[1:2], sys.argv[2:]) if len(sys.argv) > 1 else (known, [])
    if unknown := set(chosen) - set(known):
        print(f"No benchmark named {', '.join(unknown)}. There are: {', '.join(known)}.", file=sys.stderr)
        return 2
    for name in chosen:
        print(f"\n== {name}", flush=True)
        sys.argv = [f"bench.{name}", *arguments]
        importlib.import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    raise SystemExit(run())
