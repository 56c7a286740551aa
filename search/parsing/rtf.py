"""Rich text (RTF) by striprtf."""

from __future__ import annotations

import re

from search.parsing.document import Parsed, Writer

# striprtf leaves these destinations out: footnotes, headers and footers, comments, and the text of text boxes.
DESTINATIONS = re.compile(rb"\\(?:\*\\)?(?:footnote|header[lrf]?|footer[lrf]?|annotation|shpinst|shptxt)(?![a-z])")
CELL_ON_NEXT_LINE = re.compile(r"\s*\n\s*\|")


def parse(raw: bytes) -> Parsed:
    """Return the text without control words."""
    from striprtf.striprtf import rtf_to_text

    writer = Writer()
    shown = DESTINATIONS.sub(rb"\\par ", raw).decode("latin-1")
    text = str(rtf_to_text(shown, errors="replace"))  # type: ignore[no-untyped-call]  # the package has no types
    for line in CELL_ON_NEXT_LINE.sub("|", text).replace("|\n", "\n").split("\n"):
        writer.add(line.replace("|", " | "))
    return writer.parsed("rtf")
