"""File citations: the markers by which a model cites the results of file search, and the annotations that they become.

Each result has a number, and the model is asked to write it as a marker, `【3】`, after each statement that it takes from the result. The
markers are taken out of the text, and each becomes a `file_citation` at its place, as in OpenAI's API. Longer markers such as
`【3:1†handbook.pdf】`, which some models have learned, count, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from webapp.patterns.types import Json

MAX_MARKER_CHARS: Final = 200
HOW_TO_CITE: Final = "After each statement that you take from a result, write its marker, for example 【1】."
MARKER: Final = re.compile(r"[ \t]?【\s*(\d{1,6}(?:\s*,\s*\d{1,6})*)(?::\d+)?(?:†[^【】\n]*)?\s*】")
UNFINISHED: Final = re.compile(rf"[ \t]?【[^】\n]{{0,{MAX_MARKER_CHARS}}}$|[ \t]$")
"""The end of a text that may be the beginning of a marker, with the space before it."""


class Citations:
    """Number the results of one response's searches, and find their markers in the text."""

    def __init__(self) -> None:
        self._sources: list[Json] = []
        self._held = ""

    def __bool__(self) -> bool:
        """Return whether there is anything to cite."""
        return bool(self._sources)

    def add(self, result: Json) -> str:
        """Number a result with `file_id` and `filename`; return its marker."""
        self._sources.append({"file_id": result.get("file_id"), "filename": result.get("filename")})
        return f"【{len(self._sources)}】"

    def read(self, text: str) -> Iterator[str | Json]:
        """Yield the text without markers, and where a marker stood the file it cites. A text that may end in a marker is held back."""
        text = self._held + text
        unfinished = UNFINISHED.search(text)
        end = unfinished.start() if unfinished else len(text)
        self._held = text[end:]
        yield from self._split(text[:end])

    def finish(self) -> str:
        """Return the text that was held back, at the end of a message."""
        held, self._held = self._held, ""
        return held

    def _split(self, text: str) -> Iterator[str | Json]:
        position = 0
        for marker in MARKER.finditer(text):
            sources = self._cited(marker[1])
            if not sources:  # it names no result: it is text
                continue
            if position < marker.start():
                yield text[position : marker.start()]
            yield from sources
            position = marker.end()
        if position < len(text):
            yield text[position:]

    def _cited(self, numbers: str) -> list[Json]:
        wanted = [int(number) for number in numbers.split(",")]
        return [self._sources[number - 1] for number in wanted if 0 < number <= len(self._sources)]
