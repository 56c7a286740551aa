"""Text recognition, and the page that says which parts of a document hold no text."""

from __future__ import annotations

import io

import pypdfium2
import pytest
from django.test import Client

from search import services
from search.models import Collection, Document
from search.parsing import ocr
from search.parsing.document import Unreadable
from search.parsing.reader import parse
from tests.search.conftest import Ingest, run_ingestion
from tests.search.test_parsing import pdf
from tests.users import Users

needs_tesseract = pytest.mark.skipif(not ocr.is_installed(), reason="tesseract is not installed: apt install tesseract-ocr")


def scan(*texts: str) -> bytes:
    """Return a PDF whose pages are pictures of these texts; an empty text gives a page of real text."""
    result = pypdfium2.PdfDocument.new()
    for text in texts:
        source = pypdfium2.PdfDocument(pdf([text or "Real words"]))
        if not text:
            result.import_pages(source)
            continue
        bitmap = source[0].render(scale=4, grayscale=True)
        picture = pypdfium2.PdfImage.new(result)
        picture.set_bitmap(bitmap)
        picture.set_matrix(pypdfium2.PdfMatrix().scale(300, 300))
        page = result.new_page(300, 300)
        page.insert_obj(picture)
        page.gen_content()
    out = io.BytesIO()
    result.save(out)
    return out.getvalue()


def test_pages_without_text_are_counted_and_named() -> None:
    parsed = parse(io.BytesIO(scan("", "Invoice", "Total", "")), "a.pdf")
    assert parsed.scanned == 2
    assert parsed.notes == ["2 of 4 pages hold pictures and no text (page 2-3): scanned?"]
    assert parsed.text == "Real words\n\nReal words\n"


def test_a_scan_without_any_text_is_refused_and_counted() -> None:
    with pytest.raises(Unreadable, match="OCR") as refused:
        parse(io.BytesIO(scan("Invoice")), "a.pdf")
    assert refused.value.scanned == 1


def test_an_empty_page_is_not_taken_for_a_scan() -> None:
    parsed = parse(io.BytesIO(pdf(["Words", ""])), "a.pdf")
    assert (parsed.scanned, parsed.notes) == (0, [])


@needs_tesseract
def test_a_scanned_page_is_read_by_text_recognition() -> None:
    parsed = parse(io.BytesIO(scan("", "Invoice number 4711")), "a.pdf", recognize=True)
    assert "Invoice number 4711" in parsed.text
    assert parsed.notes == ["1 of 2 pages were read by text recognition (OCR), which makes mistakes."]


@needs_tesseract
def test_a_document_is_read_again_by_text_recognition(ingest: Ingest) -> None:
    document = ingest("scan.pdf", scan("Invoice number 4711"))
    assert (document.state, document.scanned) == ("failed", 1)
    services.recognize_document(document=document)
    document = run_ingestion(document)
    assert (document.state, document.text.strip()) == ("ready", "Invoice number 4711")


@pytest.mark.parametrize("installed", [True, False])
def test_the_page_of_a_document_says_which_pages_were_not_read(
    users: Users, collection: Collection, as_owner: Client, monkeypatch: pytest.MonkeyPatch, *, installed: bool
) -> None:
    monkeypatch.setattr(ocr, "is_installed", lambda: installed)
    notes = ["3 of 12 pages hold pictures and no text (page 4-6): scanned?"]
    document = Document.objects.create(collection=collection, name="scan.pdf", state="ready", text="x", notes=notes, scanned=3)
    page = as_owner.get(f"/search/documents/{document.pk}/").content.decode()
    assert "3 of 12 pages hold pictures and no text" in page
    assert ('data-testid="recognize"' in page) is installed
    assert ("apt install tesseract-ocr" in page) is not installed
    as_owner.post(f"/search/documents/{document.pk}/change/", {"do": "recognize"})
    document.refresh_from_db()
    assert (document.state, document.recognize) == ("queued", True)
