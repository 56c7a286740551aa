"""EPUB: the chapters in reading order."""

from __future__ import annotations

from typing import Any

from search.parsing import html
from search.parsing.document import Parsed, Unreadable, Writer, one_line
from search.parsing.package import Package, local, resolve

FONT_ALGORITHMS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def parse(package: Package) -> Parsed:
    """Return the title and the text of each chapter.

    Raises:
        lxml.etree.LxmlError, KeyError: the package is damaged.
        Unreadable: it is protected by DRM, or names no chapters.
    """
    _refuse_protected(package)
    container = package.xml("META-INF/container.xml")
    main = next((each.get("full-path", "") for each in container.iter() if local(each) == "rootfile"), "")
    root = package.xml(main)
    writer = Writer()
    title = next((each.text for each in root.iter() if local(each) == "title" and each.text), "")
    writer.head(0, one_line(title or ""))
    chapters = _chapters(root, main)
    if not chapters:
        raise Unreadable("It is a damaged EPUB: it names no chapters")
    missing = [name for name in chapters if name not in package]
    for name in chapters:
        if name in package:
            writer.include(html.parse(package.read(name), whole=True))
    if missing:
        writer.note(f"{len(missing)} of {len(chapters)} chapters are missing from the file.")
    return writer.parsed("epub")


def _chapters(root: Any, main: str) -> list[str]:
    items = {each.get("id"): resolve(main, each.get("href", "")) for each in root.iter() if local(each) == "item"}
    spine = [items[each.get("idref")] for each in root.iter() if local(each) == "itemref" and each.get("idref") in items]
    return list(dict.fromkeys(spine))


def _refuse_protected(package: Package) -> None:
    """Refuse a book with encrypted chapters; obfuscated fonts do not matter."""
    if "META-INF/encryption.xml" not in package:
        return
    methods = [each.get("Algorithm", "") for each in package.xml("META-INF/encryption.xml").iter() if local(each) == "EncryptionMethod"]
    if any(method not in FONT_ALGORITHMS for method in methods):
        raise Unreadable("It is protected by DRM: its chapters are encrypted")
