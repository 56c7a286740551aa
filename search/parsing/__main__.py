"""The process that reads one file: `python -m search.parsing PATH NAME` prints JSON, either {"kind", "text", "headings"} or {"error"}.

It knows neither Django nor secrets, and limits itself before it looks at the file.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from pathlib import Path

from search.parsing.document import Parsed, Unreadable

CPU_SECONDS = 30
MEMORY = 512 * 1024 * 1024
_CODE = """
    .py .js .mjs .ts .tsx .jsx .go .rs .c .h .cc .cpp .hpp .cs .java .kt .swift .rb .php .pl .lua .scala .sh .bash .sql .r .jl
    .ex .exs .hs .ml .clj .dart .zig .css
"""
TYPES = {
    "pdf": {".pdf"},
    "docx": {".docx"},
    "html": {".html", ".htm", ".xhtml"},
    "markdown": {".md", ".markdown", ".mdx"},
    "csv": {".csv", ".tsv"},
    "jsonl": {".jsonl", ".ndjson"},
    "code": set(_CODE.split()),
}


def kind_of(path: Path, name: str) -> str:
    """What the file is: by its first bytes, else by its name, else text."""
    with path.open("rb") as file:
        head = file.read(1024)
    if not head:
        raise Unreadable("It is empty")
    if b"%PDF-" in head:
        return "pdf"
    if head.startswith(b"PK\x03\x04"):
        return "docx"
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise Unreadable("It is an old or encrypted Office file. Save it as DOCX without a password")
    suffix = Path(name).suffix.lower()
    kind = next((kind for kind, suffixes in TYPES.items() if suffix in suffixes), "text")
    if kind in {"pdf", "docx"}:
        raise Unreadable(f"Its name ends in {suffix}, but its content is something else")
    return "html" if kind == "text" and head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")) else kind


def parse(path: Path, name: str) -> Parsed:
    """The file's text; raises `Unreadable`."""
    from search.parsing import markup, office, plain, tables

    kind = kind_of(path, name)
    by_path = {"pdf": office.pdf, "docx": office.docx}
    by_bytes = {
        "html": markup.parse,
        "markdown": plain.markdown,
        "csv": tables.comma_separated,
        "jsonl": tables.json_lines,
        "code": plain.code,
        "text": plain.text,
    }
    parsed = by_path[kind](path) if kind in by_path else by_bytes[kind](path.read_bytes())
    if not parsed.text.strip():
        raise Unreadable("It contains no text. Scanned pages need text recognition (OCR) first" if kind == "pdf" else "It contains no text")
    return parsed


def limit() -> None:
    """Bound this process: seconds of CPU, memory, and no files written."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    limit()
    logging.disable(logging.CRITICAL)  # pypdf comments on each oddity
    try:
        answer = parse(Path(sys.argv[1]), sys.argv[2]).as_json()
    except Unreadable as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": f"Reading it takes more than {MEMORY // 1024 // 1024} MB of memory"}
    sys.stdout.write(json.dumps(answer, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
