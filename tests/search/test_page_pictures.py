"""The pages of a PDF: each beside its picture, which a process of its own draws."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import AsyncClient, Client
from pypdf import PdfWriter

from search import page_pictures, services
from search.models import Chunk, Document
from search.parsing import bounded
from search.parsing.document import Unreadable
from tests.search.conftest import Ingest
from tests.search.test_parsing import pdf
from tests.users import Users
from webapp.accounts.models import User


def filled(words: str) -> str:
    """Return a text that is long enough for a passage of its own."""
    return f"{words} " + "and nothing else grows here " * 40


@pytest.fixture
def document(ingest: Ingest) -> Document:
    return ingest("three.pdf", pdf([filled("Apples are red"), filled("Bananas are yellow"), filled("Cherries are dark")]))


def fetch(user: User, *paths: str) -> list[tuple[int, bytes]]:
    """Get addresses as a user; return each status and body."""

    async def run() -> list[tuple[int, bytes]]:
        client = AsyncClient()
        await client.aforce_login(user, backend="django.contrib.auth.backends.ModelBackend")
        answers = [await client.get(path) for path in paths]
        return [(answer.status_code, answer.content) for answer in answers]

    return asyncio.run(run())


def text_of(page: str) -> str:
    return re.sub(r"<[^>]+>", "", page[page.index('<pre class="document-text">') : page.index("</pre>")])


def test_a_passage_opens_on_its_page(as_owner: Client, document: Document) -> None:
    assert len(document.pages) == 3
    chunk = Chunk.objects.get(document=document, text__contains="Bananas")
    page = as_owner.get(f"/search/documents/{document.pk}/", {"passage": str(chunk.pk)}).content.decode()
    assert f"/search/documents/{document.pk}/pages/2.png" in page
    assert '<mark id="passage"' in page
    assert "Bananas are yellow" in text_of(page)
    assert "Apples" not in text_of(page)
    before = as_owner.get(f"/search/documents/{document.pk}/", {"passage": str(chunk.pk), "page": "1"}).content.decode()
    assert "Apples" in text_of(before)
    assert '<mark id="passage"' not in before


def test_pages_are_turned_and_out_of_range_stays_in_range(as_owner: Client, document: Document) -> None:
    address = f"/search/documents/{document.pk}/"
    assert "Apples" in text_of(as_owner.get(address).content.decode())
    for number, word in (("3", "Cherries"), ("99", "Cherries"), ("0", "Apples"), ("x", "Apples"), ("-1", "Apples")):
        assert word in text_of(as_owner.get(address, {"page": number}).content.decode()), number
    whole = text_of(as_owner.get(address, {"view": "text"}).content.decode())
    assert all(word in whole for word in ("Apples", "Bananas", "Cherries"))


def test_a_page_is_drawn_once_and_its_picture_goes_with_the_document(users: Users, document: Document) -> None:
    address = f"/search/documents/{document.pk}/pages/2.png"
    [(status, picture)] = fetch(users.owner, address)
    assert status == 200
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(picture[16:20], "big") == page_pictures.WIDTH
    services.file_path(document.pk).rename(services.file_path(document.pk).with_suffix(".away"))
    assert fetch(users.owner, address) == [(200, picture)]
    services.delete_document(document=document)
    assert list((Path(settings.PATCHBAY_HOME) / "page-pictures").rglob("*.png")) == []


def test_pages_that_do_not_exist_or_may_not_be_read_are_not_found(users: Users, document: Document, ingest: Ingest) -> None:
    address = f"/search/documents/{document.pk}/pages"
    text = ingest("text.md", "# Not a PDF\n\ntext")
    paths = (f"{address}/0.png", f"{address}/4.png", f"/search/documents/{text.pk}/pages/1.png")
    assert [status for status, _ in fetch(users.owner, *paths)] == [404, 404, 404]
    assert [status for status, _ in fetch(users.other, f"{address}/1.png")] == [404]


def test_a_file_that_cannot_be_drawn_says_so(users: Users, document: Document) -> None:
    services.file_path(document.pk).write_bytes(b"%PDF-1.7\nnonsense")
    [(status, body)] = fetch(users.owner, f"/search/documents/{document.pk}/pages/1.png")
    assert status == 422
    assert b"cannot be drawn" in body


def test_a_page_of_any_size_has_a_bounded_picture(tmp_path: Path) -> None:
    path = tmp_path / "long.pdf"
    long = PdfWriter()
    long.add_blank_page(20, 14400)
    long.write(path)
    picture = asyncio.run(bounded.draw_page(path, 1, page_pictures.WIDTH))
    width, height = int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")
    assert width * height <= 6_100_000
    with pytest.raises(Unreadable):
        asyncio.run(bounded.draw_page(path, 2, page_pictures.WIDTH))


def test_the_pictures_that_were_not_opened_for_longest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_pictures, "MAX_FOLDER_BYTES", 1000)
    for number in range(12):
        path = page_pictures.folder() / "a" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))
    page_pictures.remove_oldest()
    assert sorted(int(path.stem) for path in page_pictures.folder().rglob("*.png")) == [4, 5, 6, 7, 8, 9, 10, 11]
