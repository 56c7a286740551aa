"""HTML: the text that a reader sees of a page's main part, with its headings."""

from __future__ import annotations

import re
from typing import Any

from lxml import etree
from lxml import html as lxml_html

from search.parsing.document import Parsed, Unreadable, Writer, one_line
from webapp.core import text_encoding

SKIPPED = frozenset({"script", "style", "noscript", "template", "iframe", "annotation", "annotation-xml", "datalist"})
MENUS = frozenset({"nav"})
MENU_ROLES = frozenset({"navigation", "search"})
_BLOCKS = """
    address article aside blockquote body button caption center dd details dialog dir div dl dt fieldset figcaption figure footer
    form frameset h1 h2 h3 h4 h5 h6 header hr html legend li listing main menu nav ol optgroup p plaintext pre search section
    select summary table tbody textarea tfoot thead tr ul xmp
"""
BLOCKS = frozenset(_BLOCKS.split())
PREFORMATTED = frozenset({"pre", "textarea", "listing", "xmp", "plaintext"})
HEADINGS = {f"h{level}": level for level in range(1, 7)}
BEFORE = {
    "br": "\n",
    "td": " | ",
    "th": " | ",
    "option": " ",
    "mtd": " ",
    "mtr": " ",
    "mfrac": " ",
    "munderover": " ",
    "mo": " ",
    "text": " ",
    "rt": " ",
    "wbr": "",
}
PERMALINKS = {"¶", "#", "🔗", "§", "\uf0c1"}
"""Texts of the links that documentation tools put behind headings and definitions."""
SHOWN_INPUTS = frozenset({"", "text", "submit", "button", "reset", "search", "email", "url", "tel", "number", "date", "month", "time"})
MIN_ARTICLE_SHARE = 0.5
DECLARED = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]{2,40})""", re.IGNORECASE)
XML_DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_:.-]{2,40})""", re.IGNORECASE)
XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]{0,500}\?>")
DECLARATION_BYTES = 4096
TOO_DEEP = "ERR_RESOURCE_LIMIT"
STRUCTURE = re.compile(r"</?(?!(?:script|style|title|template|noscript|pre|h[1-6])\b)[a-z][^<>]*>", re.IGNORECASE)


def parse(raw: bytes, *, whole: bool = False, declared: str = "") -> Parsed:
    """Return the text of the page's main part, or of all of it but its menus where it marks none.

    Args:
        whole: read all of the page, menus included, and leave its title out: it is a chapter of a book, or the body of a mail.
        declared: the encoding that a mail or server named.
    """
    decoded = text_encoding.decode(raw, declared or declared_encoding(raw))
    # lxml refuses a text that declares its encoding
    text = XML_DECLARATION.sub("", decoded.text.lstrip("\ufeff"), count=1)
    root = _tree(text.strip() or "<html></html>")
    parts = [root] if whole else _main_parts(root)
    reader = _Reader(keep_menus=whole or parts != [root])
    if not whole:
        _add_title(reader.writer, root, parts)
    for part in parts:
        reader.read(part)
    if decoded.guessed:
        reader.writer.note(f"It does not name its encoding: read as {decoded.encoding}.")
    return reader.writer.parsed("html")


def _tree(text: str) -> Any:
    """Return the root of the page. libxml2 drops all text below 2,048 levels: such a page is parsed again without its structure."""
    parser = lxml_html.HTMLParser(huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        root = lxml_html.document_fromstring(text, parser=parser)
        if any(error.type_name == TOO_DEEP for error in parser.error_log):
            root = lxml_html.document_fromstring(STRUCTURE.sub("<br>", text), parser=parser)
    except (etree.LxmlError, ValueError) as error:
        raise Unreadable("It contains no HTML") from error
    return root


def declared_encoding(raw: bytes) -> str:
    """Return the encoding that the XML declaration or a `meta` element names; empty for none."""
    head = raw[:DECLARATION_BYTES]
    found = XML_DECLARED.search(head) or DECLARED.search(head)
    return found[1].decode("ascii") if found else ""


def _main_parts(root: Any) -> list[Any]:
    """Return the outermost `main` parts; without one the articles that hold most of the text; without these the whole page."""
    for path in ("//main | //*[@role='main']", "//article"):
        found = root.xpath(path)
        known = set(found)
        outermost = [each for each in found if known.isdisjoint(each.iterancestors())]
        length = sum(_length(each) for each in outermost)
        if outermost and length and (path.startswith("//main") or (len(outermost) == 1 and length > MIN_ARTICLE_SHARE * _length(root))):
            return outermost
    return [root]


def _length(element: Any) -> int:
    """Return the characters of text below an element, without scripts, styles and menus."""
    total = 0
    walker = etree.iterwalk(element, events=("start",))
    for _event, each in walker:
        if each is not element and (each.tag in SKIPPED or _is_menu(each)):
            walker.skip_subtree()
        else:
            total += len((each.text or "").strip()) + sum(len((child.tail or "").strip()) for child in each)
    return total


def _is_menu(element: Any) -> bool:
    return element.tag in MENUS or element.get("role") in MENU_ROLES


def _add_title(writer: Writer, root: Any, parts: list[Any]) -> None:
    """Add the page's title, unless the first heading says the same."""
    title = one_line(root.findtext(".//head/title") or root.findtext(".//title") or "")
    first = next((one_line(_heading_text(each)) for part in parts for each in part.iter("h1", "h2")), "")
    known, said = _bare(first), _bare(title)
    if title and not (known and (known in said or said in known)):
        writer.head(0, title)


def _bare(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


class _Reader:
    """Walk the tree without recursion: pages nest as deep as they like."""

    def __init__(self, *, keep_menus: bool) -> None:
        self.writer = Writer()
        self._keep_menus = keep_menus
        self._inline: list[str] = []
        self._pre = 0

    def read(self, root: Any) -> None:
        stack: list[tuple[Any, bool]] = [(root, False)]
        while stack:
            element, leaving = stack.pop()
            if leaving:
                self._leave(element)
            elif self._is_skipped(element):
                self._add_tail(element, root)
                continue
            elif element.tag in HEADINGS:
                self._flush()
                self.writer.head(HEADINGS[element.tag], _heading_text(element))
            else:
                self._enter(element)
                stack.append((element, True))
                stack.extend((child, False) for child in reversed(element))
                continue
            self._add_tail(element, root)
        self._flush()

    def _is_skipped(self, element: Any) -> bool:
        if not isinstance(element.tag, str) or element.tag in SKIPPED or _is_permalink(element):
            return True
        if element.tag == "title" and element.getparent().tag == "head":
            return True
        return not self._keep_menus and _is_menu(element)

    def _add_tail(self, element: Any, root: Any) -> None:
        if element is not root:
            self._inline.append(element.tail or "")

    def _enter(self, element: Any) -> None:
        if element.tag in BLOCKS:
            self._flush()
        self._pre += element.tag in PREFORMATTED
        self._inline.append(BEFORE.get(element.tag, "") + _label(element) + (element.text or ""))

    def _leave(self, element: Any) -> None:
        if element.tag in BLOCKS:
            self._flush()
        self._pre -= element.tag in PREFORMATTED

    def _flush(self) -> None:
        text = "".join(self._inline)
        self._inline.clear()
        lines = text.strip("\n").split("\n") if self._pre else [one_line(text)]
        self.writer.add("\n".join(line.rstrip() for line in lines).strip(" |"))


def _label(element: Any) -> str:
    """Return the text that an element shows without containing it: a picture's description, a field's value."""
    if element.tag in ("img", "area"):
        return f" {element.get('alt')} " if element.get("alt") else ""
    if element.tag == "input":
        kind = (element.get("type") or "").lower()
        text = element.get("alt") if kind == "image" else element.get("value") if kind in SHOWN_INPUTS else ""
        return f" {text} " if text else " "
    return ""


def _is_permalink(element: Any) -> bool:
    return element.tag == "a" and len(element) == 0 and element.text in PERMALINKS


def _heading_text(element: Any) -> str:
    """Return a heading's text without permalinks; pictures give their description."""
    pieces: list[str] = []
    for event, each in etree.iterwalk(element, events=("start", "end")):
        if event == "start" and each.tag not in SKIPPED and not _is_permalink(each):
            pieces += [BEFORE.get(each.tag, ""), _label(each), each.text or ""]
        elif event == "end" and each is not element:
            pieces.append(each.tail or "")
    return one_line("".join(pieces))
