"""HTML: the text that a reader sees, with its headings."""

from __future__ import annotations

from typing import Any

from lxml import etree, html

from search.parsing.document import Parsed, Unreadable, Writer
from search.parsing.plain import decode

SKIPPED = {"script", "style", "noscript", "template", "head", "svg", "nav", "footer", "iframe", "form", "button", "select"}
_BLOCKS = """
    address article aside blockquote body caption dd details div dl dt fieldset figcaption figure header hr html li main ol p pre
    section summary table tbody tfoot thead tr ul
"""
BLOCKS = frozenset(_BLOCKS.split())
HEADINGS = {f"h{level}": level for level in range(1, 7)}
PERMALINKS = {"¶", "#"}
"""Texts of the links that documentation tools put behind headings and definitions."""
MAIN = ".//main | .//article | .//*[@role='main']"


def parse(raw: bytes) -> Parsed:
    """The text of the page's main part, or of all of it."""
    try:
        root = html.document_fromstring(_text(raw), parser=html.HTMLParser(huge_tree=False, remove_comments=True, remove_pis=True))
    except (etree.LxmlError, ValueError) as error:
        raise Unreadable("It contains no HTML") from error
    reader = _Reader()
    mains = root.xpath(MAIN)
    reader.read(mains[0] if len(mains) == 1 else root)
    return reader.writer.parsed("html")


def _text(raw: bytes) -> str:
    text = decode(raw).lstrip()
    # lxml refuses a text that declares its encoding
    return text.split("?>", 1)[1] if text.startswith("<?xml") and "?>" in text else text


class _Reader:
    """Walks the tree without recursion: pages nest as deep as they like."""

    def __init__(self) -> None:
        self.writer = Writer()
        self._inline: list[str] = []
        self._pre = 0

    def read(self, root: Any) -> None:
        stack: list[tuple[Any, bool]] = [(root, False)]
        while stack:
            element, leaving = stack.pop()
            if leaving:
                self._leave(element)
                self._inline.append(element.tail or "")
            elif element.tag in SKIPPED or (element.tag == "a" and element.text in PERMALINKS):
                self._inline.append(element.tail or "")
            elif element.tag in HEADINGS:
                self._flush()
                self.writer.head(HEADINGS[element.tag], _heading_text(element))
                self._inline.append(element.tail or "")
            else:
                self._enter(element)
                stack.append((element, True))
                stack.extend((child, False) for child in reversed(element))
        self._flush()

    def _enter(self, element: Any) -> None:
        if element.tag in BLOCKS:
            self._flush()
        self._pre += element.tag == "pre"
        self._inline.append({"br": "\n", "td": " | ", "th": " | "}.get(element.tag, "") + (element.text or ""))

    def _leave(self, element: Any) -> None:
        if element.tag in BLOCKS:
            self._flush()
        self._pre -= element.tag == "pre"

    def _flush(self) -> None:
        text = "".join(self._inline)
        self._inline.clear()
        lines = text.strip("\n").split("\n") if self._pre else [" ".join(text.replace("\n", " ").split())]
        self.writer.add("\n".join(line.rstrip() for line in lines).strip(" |"))


def _heading_text(element: Any) -> str:
    for link in element.iter("a"):
        if link.text in PERMALINKS:
            link.text = ""
    return " ".join("".join(element.itertext()).split())
