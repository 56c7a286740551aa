"""Read a file, or draw a page of it, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from search.parsing.document import Parsed, Unreadable

ROOT = Path(__file__).resolve().parents[2]
WALL_SECONDS = 120
OCR_WALL_SECONDS = 3600
DRAW_WALL_SECONDS = 20
CPU_SIGNALS = (-signal.SIGXCPU, -signal.SIGKILL)


async def parse(path: Path, name: str, *, recognize: bool = False) -> Parsed:
    """Return the text of the file at `path`, which its owner calls `name`.

    Args:
        recognize: read pictures, and pages without text, by text recognition (OCR), which takes seconds a page.

    Raises:
        Unreadable: it cannot be read, or took more time or memory than is allowed; the message is for people.
    """
    arguments = ["search.parsing", str(path), name.replace("\0", ""), *(["--ocr"] if recognize else [])]
    return _result(*await _run(arguments, OCR_WALL_SECONDS if recognize else WALL_SECONDS))


async def draw_page(path: Path, number: int, width: int) -> bytes:
    """Return page `number`, from 1, of the PDF at `path` as a PNG picture, `width` pixels wide.

    Raises:
        Unreadable: the page cannot be drawn, or takes more time or memory than is allowed.
    """
    picture, complaint, status = await _run(["search.parsing.draw_page", str(path), str(number), str(width)], DRAW_WALL_SECONDS)
    if status:
        lines = complaint.decode(errors="replace").strip().splitlines()
        raise Unreadable(f"This page cannot be drawn: {lines[-1][:200] if lines else f'status {status}'}")
    return picture


async def _run(arguments: list[str], seconds: float) -> tuple[bytes, bytes, int]:
    """Run a module of this package, and return its output, its complaints, and its status."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        cwd=ROOT,
        env=_environment(),
    )
    try:
        async with asyncio.timeout(seconds):
            output, complaint = await process.communicate()
    except TimeoutError:
        raise Unreadable(f"Reading it takes more than {seconds} seconds") from None
    finally:
        await _end(process)
    return output, complaint, process.returncode or 0


def _environment() -> dict[str, str]:
    """Return an environment without the server's secrets; one thread for each library."""
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1"}
    return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"} | threads


async def _end(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _result(output: bytes, complaint: bytes, status: int) -> Parsed:
    if status in CPU_SIGNALS:
        raise Unreadable("Reading it takes more than 30 seconds of processor time")
    try:
        answer = json.loads(output)
    except ValueError:
        lines = complaint.decode(errors="replace").strip().splitlines()
        last = lines[-1][:200] if lines else f"status {status}"
        raise Unreadable("Reading it takes more than 512 MB of memory" if "MemoryError" in last else f"Its reader failed: {last}") from None
    if "error" in answer:
        raise Unreadable(answer["error"], scanned=answer.get("scanned", 0), unsupported=answer.get("unsupported", False))
    return Parsed.from_json(answer)
