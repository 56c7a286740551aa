"""Measure the server time of every page with a large database, beside an empty installation.

    python -m bench pages [--attempts 10000000] [--conversations 100000] [--documents 100000] [--batches 1000] [--home FOLDER]

A page passes within 150 ms, or within three times its time in the empty installation. `--home` keeps the large database for another run.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import django

from bench._large_database import TEMPLATES, Sizes, fill

if TYPE_CHECKING:
    import httpx2

    from tests.live import Live

OPENS: Final = 7
GOAL_MS, GOAL_RATIO = 150.0, 3.0
FIRST: Final = "00000000-0000-0000-0000-000000000001"
COMMON, RARE = "answer", "4321"
PAGES: Final = {
    "administrator": [
        *(f"/usage/?period={period}" for period in ("24h", "7d", "30d", "90d")),
        *(f"/usage/?period=30d&{wanted}" for wanted in ("backend=backend-1", "model=model-2&source=chat", "user=user-7")),
        "/backends/",
        "/admin/backends/attempt/",
        *(f"/admin/backends/attempt/?{wanted}" for wanted in ("backend=backend-1", "route=route-2", "outcome=failed", "error=Nothing")),
        *(f"/admin/backends/attempt/?{wanted}" for wanted in ("q=route-3", "q=nothing")),
        "/admin/backends/apitoken/",
        "/admin/accounts/user/",
        "/admin/accounts/budget/",
        "/tools/",
    ],
    "owner": [
        "/usage/?period=30d",
        "/chat/",
        f"/chat/{FIRST}/",
        f"/chat/find/?q={COMMON}",
        f"/chat/find/?q={RARE}",
        "/chat/palette/",
        "/batches/",
        f"/batches/{FIRST}/",
        f"/batches/{FIRST}/rows/",
        "/responses/",
        "/accounts/tokens/",
        "/search/",
        f"/search/?q={COMMON}&mode=words",
        f"/search/?q={RARE}&mode=words",
        "/search/collections/",
        "/search/collections/1/",
        "/search/collections/1/?page=900",
        f"/search/documents/{FIRST}/",
    ],
}


@dataclass(frozen=True, slots=True)
class Time:
    """The median time of a page in ms, and its status."""

    ms: float
    status: int


def timed(client: httpx2.Client, address: str) -> Time:
    """Return the median of `OPENS` requests, after one that fills the caches."""
    status = client.get(address).status_code
    times = []
    for _ in range(OPENS):
        began = time.perf_counter()
        client.get(address)
        times.append((time.perf_counter() - began) * 1000)
    return Time(median(times), status)


@contextmanager
def served(home: Path, sizes: Sizes | None) -> Iterator[Live]:
    """Run a server on an installation in `home`, which is made if it is empty."""
    from tests.live import MAKE_CAST, PREPARE, Live

    live = Live(home, environment={"PATCHBAY_ATTEMPT_RETENTION_DAYS": "0"})
    if not (home / "patchbay.sqlite3").exists():
        for code in (PREPARE, MAKE_CAST):
            live.run_python(code)
        if sizes:
            make(live, sizes)
    live.start()
    try:
        yield live
    finally:
        live.stop()


def make(live: Live, sizes: Sizes) -> None:
    """Fill an installation."""
    live.run_python(TEMPLATES)
    began = time.monotonic()
    fill(live.home / "patchbay.sqlite3", sizes)
    print(f"Made {sizes.attempts:,} attempts and the rest in {time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    live.run_python("from django.core.management import call_command; call_command('sum_usage', '--rebuild')")
    print(f"manage.py sum_usage --rebuild: {time.monotonic() - began:.0f} s", flush=True)


def measure(home: Path, sizes: Sizes | None) -> dict[tuple[str, str], Time]:
    """Return the times of all pages by user and address."""
    found = {}
    with served(home, sizes) as live:
        for user, pages in PAGES.items():
            with closing(live.sign_in(user)) as client:
                client.timeout = 300
                found.update({(user, page): timed(client, page) for page in pages})
    return found


def report(empty: dict[tuple[str, str], Time], large: dict[tuple[str, str], Time]) -> None:
    """Print a line for each page, and the number of those that miss the goal."""
    print(f"{'page':62} {'empty':>8} {'large':>9} {'ratio':>7}")
    missed = 0
    for key, time_ in large.items():
        ratio = time_.ms / empty[key].ms
        late = time_.ms > GOAL_MS and ratio > GOAL_RATIO
        missed += late
        status = "" if time_.status == 200 else f" HTTP {time_.status}"
        print(f"{key[0][:5]} {key[1]:56} {empty[key].ms:6.1f}ms {time_.ms:7.1f}ms {ratio:6.1f}x{' MISSED' if late else ''}{status}")
    print(f"{missed} of {len(large)} pages take more than {GOAL_MS:.0f} ms and more than {GOAL_RATIO:.0f} times an empty installation")


def options(arguments: list[str]) -> tuple[Sizes, Path | None]:
    parser = argparse.ArgumentParser(prog="python -m bench pages")
    for field in fields(Sizes):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)
    parser.add_argument("--home", type=Path, help="keep the large installation in this folder, and use it if it is there")
    chosen = vars(parser.parse_args(arguments))
    home = chosen.pop("home")
    return Sizes(**chosen), home


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    sizes, home = options(sys.argv[1:])
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as made:
        (home or Path(made)).mkdir(parents=True, exist_ok=True)
        large = measure(home or Path(made), sizes)
        report(measure(Path(empty), None), large)


if __name__ == "__main__":
    main()
