"""Files of every kind, good and bad, through the bounded process."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from docx import Document as Docx
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from search.parsing import bounded, reader
from search.parsing.document import Parsed, Unreadable


def pdf(pages: list[str], password: str = "", outline: bool = False) -> bytes:
    """A real PDF with a line of text a page."""
    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(300, 300)
        font = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject("/Helvetica"),
            }
        )
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})})
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(stream)
        if outline:
            writer.add_outline_item(title=f"About {text.split()[0]}", page_number=len(writer.pages) - 1)
    if password:
        writer.encrypt(password)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def docx(*blocks: tuple[str, str]) -> bytes:
    """A real DOCX of (style, text) paragraphs, and a table."""
    document = Docx()
    for style, text in blocks:
        document.add_paragraph(text, style=style)
    table = document.add_table(1, 2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "left", "right"
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def read(tmp_path: Path, name: str, content: bytes) -> Parsed:
    """In this process: quick, and the same code."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with path.open("rb") as file:
        return reader.parse(file, name)


def titles(parsed: Parsed) -> list[tuple[int, str]]:
    return [(heading.level, heading.title) for heading in parsed.headings]


def test_a_pdf_gives_its_text_by_page(tmp_path: Path) -> None:
    parsed = read(tmp_path, "x.pdf", pdf(["Cats sleep", "Dogs bark"]))
    assert parsed.kind == "pdf"
    assert parsed.text == "Cats sleep\n\nDogs bark\n"
    assert titles(parsed) == [(1, "Page 1"), (1, "Page 2")]


def test_a_pdf_s_outline_is_its_headings(tmp_path: Path) -> None:
    assert titles(read(tmp_path, "x.pdf", pdf(["Cats sleep", "Dogs bark"], outline=True))) == [(1, "About Cats"), (1, "About Dogs")]


def test_a_docx_gives_headings_text_and_tables(tmp_path: Path) -> None:
    parsed = read(tmp_path, "x.docx", docx(("Title", "Pets"), ("Heading 2", "Cats"), ("Normal", "They sleep.")))
    assert (parsed.kind, titles(parsed)) == ("docx", [(1, "Pets"), (2, "Cats")])
    assert "They sleep." in parsed.text
    assert "left | right" in parsed.text


def test_html_gives_what_a_reader_sees(tmp_path: Path) -> None:
    page = b"""<!doctype html><title>Cats | Pets</title><style>.x{}</style><nav>menu</nav><main><h1>Cats<a href=#x>&para;</a></h1>
      <p>They <b>sleep</b>\nmuch.<script>alert(1)</script></p><pre>a\n  b</pre><ul><li>one<li>two<a href=#2>&para;</a></ul></main>
      <footer>foot</footer>"""
    parsed = read(tmp_path, "x.html", page)
    assert titles(parsed) == [(1, "Cats")]
    assert parsed.text == "Cats\n\nThey sleep much.\n\na\n  b\n\none\n\ntwo\n"


def test_markdown_headings_in_code_fences_are_none(tmp_path: Path) -> None:
    parsed = read(tmp_path, "x.md", b"# One\n\n```\n# not one\n```\n\nTwo\n===\n\n### Three ###\n")
    assert titles(parsed) == [(1, "One"), (1, "Two"), (3, "Three")]


def test_code_is_cut_at_what_it_defines(tmp_path: Path) -> None:
    assert titles(read(tmp_path, "x.py", b"class A:\n    def b(self): ...\n\nasync def c(): ...\n")) == [(1, "A"), (2, "b"), (1, "c")]


def test_tables_become_named_values(tmp_path: Path) -> None:
    assert "name: Ada\nage: 36" in read(tmp_path, "x.csv", b"name,age\nAda,36\n").text
    assert "name: Ada\nage: 36" in read(tmp_path, "x.csv", b"name;age\nAda;36\n").text
    assert "a.b: 1\na.c: two" in read(tmp_path, "x.jsonl", b'{"a": {"b": 1, "c": ["two"]}}\n').text


def test_doubled_quotes_are_read_however_late_they_come(tmp_path: Path) -> None:
    rows = "".join(f'"{number}","plain text"\n' for number in range(2000))
    assert 'remark: a "b" c' in read(tmp_path, "x.csv", f'id,remark\n{rows}"x","a ""b"" c"\n'.encode()).text


def test_a_line_of_jsonl_may_hold_the_separators_of_unicode(tmp_path: Path) -> None:
    """JSON allows them inside a string, and most programs write them as they are."""
    parsed = read(tmp_path, "x.jsonl", '{"a": "one\u2028two\u0085three"}\n{"a": "four"}\r\n'.encode())
    assert parsed.text == "a: one\u2028two\u0085three\n\na: four\n"


def test_half_characters_and_nuls_are_left_out(tmp_path: Path) -> None:
    """No database holds them, and JSON escapes name them."""
    parsed = read(tmp_path, "x.jsonl", b'{"cut": "half \\ud83d", "nul\\u0000": "a\\u0000b"}\n')
    assert parsed.text == "cut: half ?\nnul: ab\n"


def test_a_sign_that_ends_a_heading_is_kept_and_a_permalink_is_not(tmp_path: Path) -> None:
    page = b"<h1>From C to C#</h1><p>x</p><h2>Types<a href=#t>#</a></h2><p>y</p><h2>Loops <a href=#l>&para;</a></h2><p>z</p>"
    assert titles(read(tmp_path, "x.html", page)) == [(1, "From C to C#"), (2, "Types"), (2, "Loops")]


def test_a_heading_with_much_white_space_in_it_takes_no_time(tmp_path: Path) -> None:
    began = time.thread_time()
    parsed = read(tmp_path, "x.md", f"# a{' ' * 3000}b\n\n## Two ##\n\n### C#\n\n#### #\n\ntext\n".encode())
    assert [level for level, _ in titles(parsed)] == [1, 2, 3]
    assert titles(parsed)[1:] == [(2, "Two"), (3, "C#")]
    assert time.thread_time() - began < 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_any_encoding_is_decoded(tmp_path: Path, encoding: str) -> None:
    """FAULTS 22: invalid UTF-8 and UTF-16."""
    text = "Die Straße zum Café ist naß und früh geöffnet.\n"
    assert read(tmp_path, "x.txt", text.encode(encoding)).text == text


def bad_files() -> Iterator[tuple[str, bytes, str]]:
    good = pdf(["Cats sleep"])
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", bytes(50_000_000))
    yield "empty.pdf", b"", "empty"
    yield "blank.txt", b" \n\t\n", "no text"
    yield "corrupt.pdf", good[:200] + b"garbage", "damaged"
    yield "cut.pdf", b"%PDF-1.7\n", "damaged"
    yield "none.pdf", b"hello", "its content is something else"
    yield "locked.pdf", pdf(["Cats sleep"], password="secret"), "encrypted"
    yield "scan.pdf", pdf([""]), "OCR"
    yield "bomb.docx", bomb.getvalue(), "unpack"
    yield "corrupt.docx", b"PK\x03\x04" + bytes(500), "damaged"
    yield "noise.txt", bytes(range(256)) * 40, "binary"
    yield "broken.jsonl", b'{"a": 1}\n{"a": \n', "Line 2"
    yield "deep.jsonl", b"[" * 100_000, "Line 1"


@pytest.mark.parametrize(
    ("name", "content", "why"), list(bad_files()), ids=lambda value: value if isinstance(value, str) and "." in value else ""
)
def test_a_bad_file_is_refused_with_its_reason(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    """FAULTS 22: zip-bomb DOCX, corrupt, encrypted or empty PDF, binary renamed .txt."""
    with pytest.raises(Unreadable, match=why):
        read(tmp_path, name, content)


async def test_the_process_answers_text_and_reasons(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pdf(["Cats sleep"]))
    assert (await bounded.parse(path, "a\0.pdf")).text == "Cats sleep\n"
    path.write_bytes(b"")
    with pytest.raises(Unreadable, match="empty"):
        await bounded.parse(path, "--help")


async def test_the_process_s_memory_is_bounded(tmp_path: Path) -> None:
    """FAULTS 22: parser memory is bounded. A gigabyte of text, sparse on the disk."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(1024**3)
    with pytest.raises(Unreadable, match="memory"):
        await bounded.parse(path, "x.txt")


async def test_the_process_s_time_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "WALL_SECONDS", 0.02)
    path = tmp_path / "file"
    path.write_bytes(b"text")
    began = time.monotonic()
    with pytest.raises(Unreadable, match="seconds"):
        await bounded.parse(path, "x.txt")
    assert time.monotonic() - began < 10


def test_the_process_limits_its_computing() -> None:
    with pytest.raises(Unreadable, match="30 seconds of processor time"):
        bounded._result(b"", b"", bounded.CPU_SIGNALS[0])
