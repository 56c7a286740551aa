"""The documents of `tests/search/documents`: each holds text that a careless reader loses, glues together or invents."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.parsing.document import Parsed
from search.parsing.reader import parse

DOCUMENTS = Path(__file__).parent / "documents"
FOUND = {
    "word-tracked-changes.docx": ["The fee is 250 euros per month.", "A wholly inserted clause about penalties."],
    "word-content-controls.docx": ["Borealis Ltd", "Contract no. KX-4711 applies."],
    "word-footnote.docx": ["See note", "Lisbon agreement"],
    "word-header.docx": ["project Falcon", "Main part."],
    "word-equation.docx": ["E=mc2"],
    "word-merged-cells.docx": ["Opening hours"],
    "word-text-box.docx": ["keep below 40 degrees"],
    "word-with-macros.docm": ["Macro enabled words"],
    "text-windows-1251.txt": ["Отчёт о продажах"],
    "text-gbk.txt": ["付款期限"],
    "text-one-bad-byte.txt": ["Größe", "Straße", "Žluťoučký", "\ufffd"],
    "text-cut-in-a-character.txt": ["Straße nach Öhringen"],
    "html-declared-windows-1251.html": ["Отчёт о продажах"],
    "xhtml-declared-latin-2.xhtml": ["gęślą jaźń"],
    "html-whole-page-in-a-form.html": ["Travel policy", "premium economy"],
    "html-deeply-nested.html": ["Buried treasure", "After the deep"],
    "html-image-with-alt.html": ["wiring diagram of pump 7"],
    "html-main-with-article.html": ["Reset your password"],
    "html-title-in-head-only.html": ["Quarterly Zephyr Report"],
    "pdf-words-apart-by-gaps.pdf": ["the package should be briefly explained", "in this file and nowhere else"],
    "pdf-ligatures.pdf": ["The field offers an efficient flow."],
    "pdf-form-filled.pdf": ["Ingrid Solheim"],
    "csv-sep-line.csv": ["Name: Meyer", "City: Ulm"],
    "rich-text.rtf": ["flat 7", "Café"],
    "mail-base64.eml": ["Die Rechnung für März liegt bei.", "Rechnung für März"],
}
LEFT_OUT = {
    "word-tracked-changes.docx": ["100"],
    "html-whole-page-in-a-form.html": ["dDwtMTA4"],
    "html-main-with-article.html": ["Sidebar alpha", "zebra offers"],
    "csv-sep-line.csv": ["sep="],
    "rich-text.rtf": ["\\b", "fonttbl", "Times"],
}
ONCE = {"word-merged-cells.docx": "Opening hours", "word-text-box.docx": "keep below 40 degrees"}


def read(name: str) -> Parsed:
    with (DOCUMENTS / name).open("rb") as file:
        return parse(file, name)


@pytest.mark.parametrize("name", FOUND)
def test_every_word_of_the_document_is_read(name: str) -> None:
    text = read(name).text
    assert [words for words in FOUND[name] if words not in text] == []
    assert [words for words in LEFT_OUT.get(name, []) if words in text] == []


@pytest.mark.parametrize("name", ONCE)
def test_text_that_the_file_holds_twice_is_read_once(name: str) -> None:
    assert read(name).text.count(ONCE[name]) == 1


def test_a_text_cut_in_a_character_ends_in_the_replacement_character() -> None:
    parsed = read("text-cut-in-a-character.txt")
    assert parsed.text.rstrip().endswith("\ufffd")
    assert parsed.notes == ["1 character could not be decoded and shown as “\ufffd” (read as utf-8)."]


def test_a_guessed_encoding_is_said() -> None:
    assert read("text-windows-1251.txt").notes == ["It does not name its encoding: read as cp1251."]
