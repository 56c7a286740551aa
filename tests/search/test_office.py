"""Office, OpenDocument, EPUB, mail, and HTML: the features that simple readers lose."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, date, datetime
from email.message import EmailMessage

import pytest
from openpyxl import Workbook
from openpyxl.comments import Comment
from pptx import Presentation
from pptx.util import Inches

from search.parsing.document import Parsed, Unreadable
from search.parsing.reader import parse

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
NAMESPACES = (
    f'xmlns:w="{W}" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" xmlns:v="urn:schemas-microsoft-com:vml" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" xmlns:wp="urn:wp" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
)
RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def package(**parts: str) -> bytes:
    """Return a ZIP package; `__` stands for a slash in a name and `_dot_` for a dot."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return out.getvalue()


def docx(body: str, *, main: str = "word/document.xml", **parts: str) -> bytes:
    """Return a DOCX with this body; each of `parts` is a related part (footnotes, endnotes, comments, header, styles)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        root = f'<Relationship Id="r1" Type="{OFFICE}/officeDocument" Target="/{main}"/>'
        archive.writestr("_rels/.rels", f'<Relationships xmlns="{RELATIONSHIPS}">{root}</Relationships>')
        archive.writestr(main, f"<w:document {NAMESPACES}><w:body>{body}</w:body></w:document>")
        related = "".join(f'<Relationship Id="{name}" Type="{OFFICE}/{name}" Target="{name}.xml"/>' for name in parts)
        archive.writestr("word/_rels/document.xml.rels", f'<Relationships xmlns="{RELATIONSHIPS}">{related}</Relationships>')
        for name, content in parts.items():
            archive.writestr(f"word/{name}.xml", content)
    return out.getvalue()


def p(text: str, properties: str = "") -> str:
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def read(content: bytes, name: str = "x.docx") -> Parsed:
    return parse(io.BytesIO(content), name)


TEXT_BOX = "<w:txbxContent><w:p><w:r><w:t>In the box</w:t></w:r></w:p></w:txbxContent>"
BODIES = {
    "nested table": (
        f"<w:tbl><w:tr><w:tc>{p('outer')}<w:tbl><w:tr><w:tc>{p('inner')}</w:tc></w:tr></w:tbl>{p('')}</w:tc></w:tr></w:tbl>",
        "outer inner",
    ),
    "vertically merged cells": (
        (
            f"<w:tbl><w:tr><w:tc><w:tcPr><w:vMerge w:val='restart'/></w:tcPr>{p('Tall')}</w:tc><w:tc>{p('one')}</w:tc></w:tr>"
            f"<w:tr><w:tc><w:tcPr><w:vMerge/></w:tcPr>{p('')}</w:tc><w:tc>{p('two')}</w:tc></w:tr></w:tbl>"
        ),
        "Tall | one\ntwo",
    ),
    "smart tag": ("<w:p><w:smartTag><w:r><w:t>Lisbon</w:t></w:r></w:smartTag></w:p>", "Lisbon"),
    "simple field": ("<w:p><w:fldSimple w:instr='AUTHOR'><w:r><w:t>Ingrid</w:t></w:r></w:fldSimple></w:p>", "Ingrid"),
    "complex field": (
        (
            "<w:p><w:r><w:fldChar w:fldCharType='begin'/></w:r><w:r><w:instrText>DATE</w:instrText></w:r>"
            "<w:r><w:fldChar w:fldCharType='separate'/></w:r><w:r><w:t>1 May</w:t></w:r><w:r><w:fldChar w:fldCharType='end'/></w:r></w:p>"
        ),
        "1 May",
    ),
    "drop-down field": (
        (
            "<w:p><w:r><w:fldChar w:fldCharType='begin'><w:ffData><w:ddList><w:result w:val='1'/><w:listEntry w:val='red'/>"
            "<w:listEntry w:val='blue'/></w:ddList></w:ffData></w:fldChar></w:r></w:p>"
        ),
        "blue",
    ),
    "hyperlink": ("<w:p><w:hyperlink r:id='x'><w:r><w:t>our pages</w:t></w:r></w:hyperlink></w:p>", "our pages"),
    "moved text": (
        "<w:p><w:moveFrom><w:r><w:t>was</w:t></w:r></w:moveFrom><w:moveTo><w:r><w:t>is here</w:t></w:r></w:moveTo></w:p>",
        "is here",
    ),
    "text box twice": (
        (
            f"<w:p><w:r><mc:AlternateContent><mc:Choice Requires='wps'><wps:txbx>{TEXT_BOX}</wps:txbx></mc:Choice>"
            f"<mc:Fallback><w:pict><v:textbox>{TEXT_BOX}</v:textbox></w:pict></mc:Fallback></mc:AlternateContent></w:r></w:p>"
        ),
        "In the box",
    ),
    "text box in VML": (f"<w:p><w:r><w:pict><v:textbox>{TEXT_BOX}</v:textbox></w:pict></w:r></w:p>", "In the box"),
    "fallback alone": (
        (
            f"<w:p><w:r><mc:AlternateContent><mc:Fallback><w:pict><v:textbox>{TEXT_BOX}</v:textbox></w:pict></mc:Fallback>"
            "</mc:AlternateContent></w:r></w:p>"
        ),
        "In the box",
    ),
    "picture's description": ("<w:p><w:r><w:drawing><wp:docPr descr='A pump'/></w:drawing></w:r></w:p>", "A pump"),
    "fraction": (
        "<w:p><m:oMath><m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den></m:f></m:oMath></w:p>",
        "a/b",
    ),
    "hyphens and breaks": (
        "<w:p><w:r><w:t>one</w:t><w:noBreakHyphen/><w:t>two</w:t><w:br/><w:t>th</w:t><w:softHyphen/><w:t>ree</w:t><w:tab/><w:t>4</w:t></w:r></w:p>",
        "one-two\nthree\t4",
    ),
    "ruby": (
        "<w:p><w:r><w:ruby><w:rt><w:r><w:t>kan</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>漢</w:t></w:r></w:rubyBase></w:ruby></w:r></w:p>",
        "kan漢",
    ),
}


@pytest.mark.parametrize("feature", BODIES)
def test_a_word_document_s_text_is_read_once(feature: str) -> None:
    body, text = BODIES[feature]
    assert read(docx(body)).text.strip() == text


@pytest.mark.parametrize(("kind", "label"), [("footnote", "Footnote"), ("endnote", "Endnote"), ("comment", "Comment (Ada)")])
def test_notes_follow_the_paragraph_that_refers_to_them(kind: str, label: str) -> None:
    author = "w:author='Ada'" if kind == "comment" else ""
    note = f"<w:{kind}s xmlns:w='{W}'><w:{kind} w:id='7' {author}>{p('The small print')}</w:{kind}></w:{kind}s>"
    body = f"<w:p><w:r><w:t>See</w:t><w:{kind}Reference w:id='7'/></w:r></w:p>{p('After')}"
    assert read(docx(body, **{f"{kind}s": note})).text == f"See\n\n{label}: The small print\n\nAfter\n"


def test_a_heading_is_known_by_its_style_in_any_language() -> None:
    styles = f"<w:styles xmlns:w='{W}'><w:style w:styleId='berschrift2'><w:name w:val='heading 2'/></w:style></w:styles>"
    body = p("Fristen", "<w:pPr><w:pStyle w:val='berschrift2'/></w:pPr>") + p("Text")
    parsed = read(docx(body, styles=styles))
    assert [(heading.level, heading.title) for heading in parsed.headings] == [(2, "Fristen")]


def test_tables_nest_as_deep_as_they_like() -> None:
    depth = 300
    body = "<w:tbl><w:tr><w:tc>" * depth + p("Buried") + "</w:tc></w:tr></w:tbl>" * depth
    assert read(docx(body)).text == "Buried\n"


@pytest.mark.parametrize("name", ["x.docm", "x.dotx", "x.dotm", "no-suffix"])
def test_the_content_tells_the_kind_whatever_the_name(name: str) -> None:
    assert read(docx(p("Words")), name).kind == "docx"


def test_a_spreadsheet_s_rows_are_named_by_its_header() -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Orders"
    for row in (
        ["Report of May"],
        [],
        ["Name", "Sum", "Day", "Paid"],
        ["Meyer", 12.5, date(2026, 5, 1), True],
        ["Lang", 3, None, False],
    ):
        sheet.append(row)
    sheet["A4"].comment = Comment("Ask her again", "Ada")
    book.create_sheet("Notes")["B2"] = "Only a note"
    out = io.BytesIO()
    book.save(out)
    parsed = read(out.getvalue(), "x.xlsx")
    assert parsed.kind == "xlsx"
    assert "Name: Meyer\nSum: 12.5\nDay: 2026-05-01\nPaid: TRUE" in parsed.text
    assert "Name: Lang\nSum: 3\nPaid: FALSE" in parsed.text
    for text in ("Report of May", "Ask her again", "Only a note"):
        assert text in parsed.text
    assert [heading.title for heading in parsed.headings if heading.level == 1] == ["Orders", "Notes"]


def test_a_presentation_gives_titles_tables_and_notes() -> None:
    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    assert slide.shapes.title is not None
    slide.shapes.title.text = "Our plan"
    slide.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "First a box"
    table = slide.shapes.add_table(1, 2, 0, 0, Inches(1), Inches(1)).table
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "right"
    notes = slide.notes_slide.notes_text_frame
    assert notes is not None
    notes.text = "Say it slowly"
    out = io.BytesIO()
    deck.save(out)
    parsed = read(out.getvalue(), "x.pptx")
    assert (parsed.kind, [heading.title for heading in parsed.headings]) == ("pptx", ["Our plan"])
    assert parsed.text == "Our plan\n\nFirst a box\n\nleft | right\n\nNotes: Say it slowly\n"


TOWNS = (("Name", "City"), ("Meyer", "Ulm"), ("Lang", "Trier"))
ODF = 'xmlns:office="o" xmlns:text="t" xmlns:table="tb" xmlns:draw="drawing"'


def opendocument(kind: str, body: str) -> bytes:
    content = f"<office:document-content {ODF}><office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>"
    return package(mimetype=f"application/vnd.oasis.opendocument.{kind}", content_dot_xml=content)


def test_an_opendocument_text_leaves_deleted_text_out() -> None:
    body = (
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes><text:h text:outline-level='2'>Head</text:h>"
        "<text:p>a<text:s text:c='2'/>b<text:tab/>c<text:span>d</text:span>e"
        "<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>small</text:p></text:note-body></text:note></text:p>"
        "<table:table><table:table-row><table:table-cell><text:p>x</text:p></table:table-cell><table:table-cell><text:p>y</text:p>"
        "</table:table-cell></table:table-row></table:table>"
    )
    parsed = read(opendocument("text", body), "x.odt")
    assert (parsed.kind, [heading.title for heading in parsed.headings]) == ("odt", ["Head"])
    assert "deleted" not in parsed.text
    for text in ("a  b\tcde", "small", "x | y"):
        assert text in parsed.text


def test_an_opendocument_sheet_is_read_by_its_header() -> None:
    rows = "".join(
        "<table:table-row>"
        + "".join(f"<table:table-cell><text:p>{cell}</text:p></table:table-cell>" for cell in row)
        + "</table:table-row>"
        for row in (("Name", "City"), ("Meyer", "Ulm"), ("Lang", "Trier"))
    )
    parsed = read(opendocument("spreadsheet", f"<table:table table:name='T'>{rows}</table:table>"), "x.ods")
    assert parsed.kind == "ods"
    assert "Name: Meyer\nCity: Ulm" in parsed.text


def test_an_epub_is_read_in_the_order_of_its_spine() -> None:
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf"><metadata><title>The book</title></metadata><manifest>'
        '<item id="b" href="two%20x.xhtml"/><item id="a" href="one.xhtml"/></manifest><spine><itemref idref="a"/>'
        '<itemref idref="b"/></spine></package>'
    )
    container = '<container><rootfiles><rootfile full-path="OPS/p.opf"/></rootfiles></container>'
    chapters = {name: f"<html><body><h1>{text}</h1><nav>kept</nav></body></html>" for name, text in (("one", "First"), ("two x", "Second"))}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("OPS/p.opf", opf)
        for name, text in chapters.items():
            archive.writestr(f"OPS/{name}.xhtml", text)
    parsed = read(out.getvalue(), "x.epub")
    assert (parsed.kind, parsed.text) == ("epub", "The book\n\nFirst\n\nkept\n\nSecond\n\nkept\n")


def test_a_mail_gives_its_body_and_its_attachments() -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["Date"] = "Rechnung für März", "Ada <ada@example.org>", datetime(2026, 3, 1, tzinfo=UTC)
    mail.set_content("Anbei.")
    mail.add_alternative("<p>Anbei, als HTML.</p>", subtype="html")
    mail.add_attachment(docx(p("The invoice")), maintype="application", subtype="octet-stream", filename="a.docx")
    mail.add_attachment(b"\x00\x01\x02" * 99, maintype="application", subtype="octet-stream", filename="b.bin")
    parsed = read(mail.as_bytes(), "x.eml")
    for text in ("Rechnung für März", "Ada <ada@example.org>", "Anbei.", "The invoice"):
        assert text in parsed.text
    assert parsed.notes == ["The attachment “b.bin” was not read: it is binary data, not text."]


def test_a_damaged_document_says_that_text_may_be_missing() -> None:
    parsed = read(docx(p("Before") + "<w:p><w:r><w:t>cut</w:r></w:p>" + p("After")))
    assert parsed.text.startswith("Before")
    assert parsed.notes == ["It is damaged, and text may be missing (word/document.xml)."]


REFUSED = {
    "old.doc": (b"\xd0\xcf\x11\xe0" + bytes(600) + "WordDocument".encode("utf-16-le") + bytes(99), "older kind .*DOCX"),
    "locked.docx": (b"\xd0\xcf\x11\xe0" + bytes(600) + "EncryptedPackage".encode("utf-16-le") + bytes(99), "encrypted"),
    "mail.msg": (b"\xd0\xcf\x11\xe0" + bytes(600) + "__nameid_version1.0".encode("utf-16-le") + bytes(99), "Outlook"),
    "files.zip": (package(a_dot_txt="text"), "ZIP archive"),
    "book.epub": (
        package(**{"META-INF__container_dot_xml": "<c/>", "META-INF__encryption_dot_xml": "<e><EncryptionMethod Algorithm='aes'/></e>"}),
        "DRM",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_kind_without_a_reader_is_named(name: str) -> None:
    content, why = REFUSED[name]
    with pytest.raises(Unreadable, match=why):
        read(content, name)


HTML = {
    "meta in http-equiv": ("<meta http-equiv=Content-Type content='text/html; charset=koi8-r'><p>Отчёт</p>".encode("koi8-r"), "Отчёт"),
    "UTF-16 with a mark": ("<p>Größe</p>".encode("utf-16"), "Größe"),
    "wrong declaration": ("<meta charset=iso-8859-1><p>Größe über alles</p>".encode(), "Größe über alles"),
    "Windows-1252 as Latin-1": ("<meta charset=iso-8859-1><p>“quoted” – 5 €</p>".encode("cp1252"), "“quoted” – 5 €"),
    "declared Shift JIS": ("<meta charset=shift_jis><p>在庫管理</p>".encode("cp932"), "在庫管理"),
    "form fields": (
        b"<form><label>Name</label><input value='Ada'><input type=hidden value=no><button>Send</button></form>",
        "Name Ada\n\nSend",
    ),
    "options": (b"<select><option>one<option>two</select>", "one two"),
    "soft hyphens": ("<p>Donau\u00addampf\u200bschiff</p>".encode(), "Donaudampfschiff"),
    "cells": (b"<table><tr><td>a<td>b<tr><td>c</table>", "a | b\n\nc"),
    "section without a body": (b"<title>T</title><section><p>Words</p></section>", "T\n\nWords"),
    "two mains": (b"<main><p>one</p></main><aside>x</aside><main><p>two</p></main>", "one\n\ntwo"),
    "several articles": (b"<article>one</article><article>two</article><p>three</p>", "one\n\ntwo\n\nthree"),
    "menu": (b"<nav>menu</nav><div role=navigation>more</div><p>Words</p><footer>Address</footer>", "Words\n\nAddress"),
    "line break": (b"<p>one<br>two</p>", "one two"),
    "inline": (b"<p><b>bo</b>ld <i>it</i></p>", "bold it"),
}


@pytest.mark.parametrize("feature", HTML)
def test_a_page_s_text_is_read_as_a_reader_sees_it(feature: str) -> None:
    content, text = HTML[feature]
    assert read(content, "x.html").text.strip() == text


def test_a_page_may_nest_thousands_deep() -> None:
    assert "Buried" in read(b"<div>" * 3000 + b"Buried" + b"</div>" * 3000 + b"<p>After", "x.html").text
