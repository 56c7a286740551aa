"""Rich text (RTF) by striprtf."""

from __future__ import annotations

from search.parsing.document import Parsed, Writer


def parse(raw: bytes) -> Parsed:
    """Return the text without control words."""
    from striprtf.striprtf import rtf_to_text

    writer = Writer()
    text = str(rtf_to_text(raw.decode("latin-1"), errors="replace"))  # type: ignore[no-untyped-call]  # the package has no types
    for line in text.replace("|\n", "\n").split("\n"):
        writer.add(line.replace("|", " | "))
    return writer.parsed("rtf")
