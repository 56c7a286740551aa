"""Compare the text of documents word by word with pdftotext, w3m, and pandoc: `python -m bench documents FOLDER [--limit 200] [--pypdf]`.

A word is found if our text holds it as a word. A word of ours is glued if it is two neighboring words of the other text, written as one.
"""

from __future__ import annotations

import argparse
import gzip
import io
import multiprocessing
import re
import resource
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

WORD = re.compile(r"[^\W_]+")
LETTERS = re.compile(r"[^\W\d_]{2,}")
MAX_BYTES = 60_000_000
TIMEOUT_SECONDS = 300
SHOWN_WORDS = 12
REFERENCES: dict[str, list[str]] = {
    ".pdf": ["pdftotext", "-enc", "UTF-8", "PATH", "-"],
    ".html": ["w3m", "-dump", "-T", "text/html", "-O", "UTF-8", "-o", "display_link_number=0", "-cols", "10000", "PATH"],
    ".epub": ["pandoc", "-f", "epub", "-t", "plain", "--wrap=none", "PATH"],
    ".docx": ["pandoc", "-f", "docx", "-t", "plain", "--wrap=none", "PATH"],
    ".odt": ["pandoc", "-f", "odt", "-t", "plain", "--wrap=none", "PATH"],
    ".rtf": ["pandoc", "-f", "rtf", "-t", "plain", "--wrap=none", "PATH"],
}


@dataclass
class Compared:
    """Compare the words of one document.

    Attributes:
        words: words of the reference.
        missing: words of the reference that ours lacks, with their counts.
        glued: our words that are two neighboring words of the reference.
    """

    path: Path
    words: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    glued: list[str] = field(default_factory=list)
    seconds: float = 0.0
    megabytes: float = 0.0
    error: str = ""


def words(text: str) -> list[str]:
    """Return the words of a text, compatibility forms unified."""
    return WORD.findall(unicodedata.normalize("NFKC", text).replace("\u00ad", "").casefold())


def read_ours(path: Path, raw: bytes) -> str:
    """Return the text that the search indexes, without its process of its own."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from search.parsing.reader import parse

    return parse(io.BytesIO(raw), path.name.removesuffix(".gz")).text


def read_pypdf(_path: Path, raw: bytes) -> str:
    """Return the text by pypdf, for the comparison of ADR 0013."""
    import logging

    from pypdf import PdfReader

    logging.disable(logging.CRITICAL)
    return "\n\n".join(page.extract_text() for page in PdfReader(io.BytesIO(raw)).pages)


def reference(path: Path, raw: bytes, suffix: str) -> str:
    """Return the text by the program that reads this kind best."""
    target = path
    if path.suffix == ".gz":
        target = Path("/tmp") / f"bench-documents-{path.stem}-{hash(str(path)) & 0xFFFF}{suffix}"
        target.write_bytes(raw)
    command = [str(target) if part == "PATH" else part for part in REFERENCES[suffix]]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
    finally:
        if target is not path:
            target.unlink()
    return done.stdout.decode(errors="replace")


def compare(path: Path, read: Callable[[Path, bytes], str]) -> Compared:
    """Compare one document with its reference."""
    result = Compared(path)
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    suffix = Path(path.name.removesuffix(".gz")).suffix.replace(".htm", ".html").replace("htmll", "html").replace(".xhtml", ".html")
    began = time.process_time()
    try:
        ours = words(read(path, raw))
    except Exception as error:  # noqa: BLE001 - the report names it
        result.error = f"{type(error).__name__}: {error}"
        ours = []
    result.seconds = time.process_time() - began
    result.megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    theirs = words(reference(path, raw, suffix))
    result.words = len(theirs)
    known = set(ours)
    result.missing = Counter(word for word in theirs if word not in known)
    joined = {first + second for first, second in pairwise(theirs) if LETTERS.fullmatch(first) and LETTERS.fullmatch(second)}
    result.glued = sorted((known & joined) - set(theirs))
    return result


def documents(folder: Path, limit: int, max_bytes: int) -> list[Path]:
    """Return documents below a folder, at most `limit` of each kind and package (the first level of folders)."""
    found: list[Path] = []
    counts: Counter[tuple[str, str]] = Counter()
    for path in sorted(folder.rglob("*")):
        suffix = Path(path.name.removesuffix(".gz")).suffix
        key = (path.relative_to(folder).parts[0], suffix)
        if suffix in REFERENCES and path.is_file() and not path.is_symlink() and path.stat().st_size < max_bytes and counts[key] < limit:
            counts[key] += 1
            found.append(path)
    return found


def report(name: str, results: list[Compared]) -> None:
    """Print the sums by kind and the documents that lose most."""
    for suffix in REFERENCES:
        its = [result for result in results if Path(result.path.name.removesuffix(".gz")).suffix == suffix]
        total = sum(result.words for result in its)
        if total:
            missing = sum(result.missing.total() for result in its)
            glued = sum(len(result.glued) for result in its)
            print(
                f"{name} {suffix}: {len(its)} files, {total:,} words, found {100 - 100 * missing / total:.3f} %, glued {glued}, "
                f"{sum(result.seconds for result in its):.1f} s of CPU, at most {max(result.megabytes for result in its):.0f} MB, "
                f"{sum(bool(result.error) for result in its)} not read"
            )
    for result in sorted(results, key=lambda each: -each.missing.total())[:40]:
        if result.missing or result.glued:
            share = 100 - 100 * result.missing.total() / max(1, result.words)
            shown = ", ".join(f"{word}×{count}" for word, count in result.missing.most_common(SHOWN_WORDS))
            print(f"  {share:6.2f} % {result.path} {result.error}\n         missing: {shown}\n         glued: {result.glued[:SHOWN_WORDS]}")


def _ours(path: Path) -> Compared:
    return compare(path, read_ours)


def _pypdf(path: Path) -> Compared:
    return compare(path, read_pypdf)


def main() -> None:
    """Compare the documents below a folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--pypdf", action="store_true", help="read the PDFs by pypdf, too")
    parser.add_argument("--max-bytes", type=int, default=MAX_BYTES)
    parser.add_argument("--kind", default="")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if options.folder is None:
        print("Give a folder with documents, for example with unpacked Debian -doc packages.")
        return
    found = [path for path in documents(options.folder, options.limit, options.max_bytes) if options.kind in path.name]
    # A process for each document: its peak of memory is then the document's.
    with multiprocessing.get_context("spawn").Pool(options.processes, maxtasksperchild=1) as pool:
        report("ours", pool.map(_ours, found, chunksize=1))
        if options.pypdf:
            report("pypdf", pool.map(_pypdf, [path for path in found if ".pdf" in path.name], chunksize=1))


if __name__ == "__main__":
    main()
