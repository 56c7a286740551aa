"""The query page and what belongs to it."""

from __future__ import annotations

import csv
import io
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from search.models import Chunk, Collection, Document, Index
from search.ranking import passages
from tests.search.conftest import CATS, ENGINES, Ingest
from tests.users import Users
from webapp.builtin import embeddings

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture
def library(ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    ingest("engines.md", ENGINES)


@pytest.mark.usefixtures("library")
def test_a_query_shows_passages_with_scores_and_marks(as_owner: Client) -> None:
    page = as_owner.get("/search/", {"q": "diesel fuel"}).content.decode()
    first = page[page.index('data-testid="search-result"') :]
    assert "engines.md" in first[:600]
    assert "<mark>diesel</mark>" in first
    assert 'data-testid="search-score"' in first
    assert "Meaning" in first
    assert "Words" in first


@pytest.mark.usefixtures("library")
def test_each_mode_shows_its_ranker_alone(as_owner: Client) -> None:
    for mode, shown, absent in (("semantic", "Meaning", "Words"), ("keyword", "Words", "Meaning")):
        page = as_owner.get("/search/", {"q": "diesel fuel", "mode": mode}, headers=PARTIAL).content.decode()
        assert f"<span>{shown} " in page
        assert f"<span>{absent} " not in page


@pytest.mark.usefixtures("library")
def test_htmx_gets_the_results_alone_and_a_short_address(as_owner: Client) -> None:
    query = {"q": "wool", "mode": "hybrid", "collection": "", "kind": "", "since": ""}
    response = as_owner.get("/search/", query, headers=PARTIAL)
    assert "<html" not in response.content.decode()
    assert response["HX-Replace-Url"] == "/search/?q=wool"


@pytest.mark.usefixtures("library")
def test_an_empty_query_shows_recent_documents(as_owner: Client) -> None:
    page = as_owner.get("/search/").content.decode()
    assert "Recent documents" in page
    assert "cats.md" in page


def test_the_page_has_the_built_in_model_loaded_only_where_a_search_would_ask_it(
    as_owner: Client, as_other: Client, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle process does without its memory; the first query of somebody who has documents does not wait for it."""
    warmed: list[str] = []
    monkeypatch.setattr(embeddings, "warm", warmed.append)
    as_owner.get("/search/")
    assert warmed == []
    ingest("cats.md", CATS)
    as_other.get("/search/")
    assert warmed == []
    as_owner.get("/search/")
    assert warmed == ["all-MiniLM-L6-v2"]
    Index.objects.update(answered_by="text-embedding-3-small")
    as_owner.get("/search/")
    assert warmed == ["all-MiniLM-L6-v2"]


HOSTILE_QUERIES = [
    "%%%%",
    '"',
    '""" AND OR NOT NEAR( * ^',
    "a:b c-d -e +f (g",
    "' OR 1=1 --",
    "\x00\x01",
    "x" * 20_000,
    "word " * 4_000,
    "{{7*7}}",
    "NEAR/2 { } [ ]",
    "日本語",
    "*",
    "rowid:1 scope:c1",
]


@pytest.mark.usefixtures("library")
def test_any_query_gets_an_answer(as_owner: Client) -> None:
    """FAULTS 48: 20 KB, `%%%%`, quotes and operators of the full-text syntax: an answer, or none found; never an error."""
    for query in HOSTILE_QUERIES:
        for mode in ("hybrid", "semantic", "keyword"):
            assert as_owner.get("/search/", {"q": query, "mode": mode}, headers=PARTIAL).status_code == 200, (mode, query[:50])


@pytest.mark.usefixtures("library")
def test_filters_that_make_no_sense_break_nothing(as_owner: Client) -> None:
    for name in ("collection", "kind", "tag", "since", "mode", "more"):
        for value in ("'", "-1", "99999999999999999999", "2024-13-45", "²", "\x00", "x" * 500):
            query: dict[str, str] = {"q": "cat", "mode": "keyword", name: value}
            assert as_owner.get("/search/", query, headers=PARTIAL).status_code == 200, (name, value)


def test_markup_in_names_headings_and_text_is_escaped(as_owner: Client, ingest: Ingest) -> None:
    """FAULTS 5 and 19."""
    document = ingest("../../<img src=x onerror=alert(1)>.md", "# <script>alert(2)</script>\n\nHello <b>wool</b> {{7*7}} <svg onload=x>\n")
    for page in (as_owner.get("/search/", {"q": "wool"}), as_owner.get(f"/search/documents/{document.pk}/")):
        text = page.content.decode()
        assert "<img src=x" not in text
        assert "<script>alert" not in text
        assert "<svg onload" not in text
        assert "{{7*7}}" in text


def test_a_document_opens_at_the_passage(as_owner: Client, ingest: Ingest) -> None:
    document = ingest("cats.md", CATS)
    chunk = Chunk.objects.get(document=document)
    page = as_owner.get(f"/search/documents/{document.pk}/", {"passage": chunk.pk}).content.decode()
    assert f'<mark id="passage" tabindex="-1">{chunk.text}</mark>' in page


@pytest.mark.usefixtures("library")
def test_more_like_this_leaves_out_the_passage_itself(as_owner: Client, ingest: Ingest) -> None:
    ingest("lions.md", "# Lions\n\nThe lion is a large cat that sleeps all day and eats meat.\n")
    chunk = Chunk.objects.get(document__name="cats.md")
    page = as_owner.get("/search/", {"like": chunk.pk}, headers=PARTIAL).content.decode()
    results = page[page.index('<ol class="results">') :]
    assert "cats.md" not in results
    assert results.index("lions.md") < results.index("engines.md")


@pytest.mark.usefixtures("library")
def test_what_was_found_can_be_exported(as_owner: Client) -> None:
    rows = as_owner.get("/search/export/", {"q": "diesel"}).json()
    assert rows[0]["document"] == "engines.md"
    assert rows[0]["keyword_rank"] == 1
    table = as_owner.get("/search/export/", {"q": "diesel", "format": "csv"})
    assert next(csv.DictReader(io.StringIO(table.content.decode())))["document"] == "engines.md"
    assert table["Content-Disposition"].startswith("attachment")


@pytest.mark.usefixtures("library")
def test_asking_about_passages_opens_a_chat_with_them(as_owner: Client) -> None:
    chunk = Chunk.objects.get(document__name="cats.md")
    response = as_owner.post("/search/ask/", {"q": "What do cats eat?", "passage": [str(chunk.pk), "x", "0"]})
    target = urlsplit(response["Location"])
    text = parse_qs(target.query)["text"][0]
    assert (response.status_code, target.path) == (303, "/chat/")
    assert text.startswith("What do cats eat?")
    assert "> Cats eat fish and mice." in text
    assert f"/search/documents/{chunk.document_id}/?passage={chunk.pk}#passage" in text


def test_a_question_about_long_passages_fits_an_address(as_owner: Client, ingest: Ingest) -> None:
    """Six passages of Cyrillic would take 40 KB there; proxies refuse more than 8."""
    ingest("long.md", "".join(f"# Часть {number}\n\n{'слово ' * 150}\n\n" for number in range(6)))
    chosen = list(Chunk.objects.values_list("pk", flat=True)[:6])
    response = as_owner.post("/search/ask/", {"q": "О чём это?", "passage": chosen})
    assert len(response["Location"]) < 8000
    text = parse_qs(urlsplit(response["Location"]).query)["text"][0]
    assert text.startswith("О чём это?")
    assert all(f"[{number}] long.md › Часть {number - 1} (" in text for number in range(1, 7))
    assert text.count("> слово слово") == 6


def test_a_very_long_line_is_shown_stretch_by_stretch(collection: Collection) -> None:
    text = "".join(f"{number:07} " for number in range(100_000))
    document = Document.objects.create(collection=collection, name="line.txt", state="ready", text=text)
    place = {"start": 720_000, "end": 720_007, "text": "0090000", "tokens": 1}
    chunk = Chunk.objects.create(document=document, collection=collection, scope="c", **place)
    shown = passages.show(document, str(chunk.pk), "")
    assert '<mark id="passage" tabindex="-1">0090000</mark>' in shown.html
    assert len(shown.html) < passages.STRETCH + 100
    shown, read = passages.show(document, "", ""), ""
    while shown.later is not None:
        read += shown.html
        shown = passages.show(document, "", str(shown.later))
    assert read + shown.html == text


@pytest.mark.usefixtures("library")
def test_another_user_finds_and_opens_nothing(as_other: Client, users: Users) -> None:
    """FAULTS 7: documents, passages and collections of others do not exist."""
    chunk = Chunk.objects.first()
    assert chunk is not None
    collection = Collection.objects.get()
    assert 'data-testid="search-result"' not in as_other.get("/search/", {"q": "diesel"}).content.decode()
    assert 'data-testid="search-result"' not in as_other.get("/search/", {"q": "diesel", "collection": str(collection.pk)}).content.decode()
    assert as_other.get("/search/export/", {"q": "diesel"}).json() == []
    for path in (
        f"/search/?like={chunk.pk}",
        f"/search/documents/{chunk.document_id}/",
        f"/search/documents/{chunk.document_id}/original/",
        f"/search/collections/{collection.pk}/",
        f"/search/collections/{collection.pk}/documents/",
        f"/search/collections/{collection.pk}/map/",
        f"/search/collections/{collection.pk}/indexes/{collection.serving_id}/compare/",
    ):
        assert as_other.get(path).status_code == 404, path
    for path in (
        f"/search/documents/{chunk.document_id}/change/",
        f"/search/collections/{collection.pk}/",
        f"/search/collections/{collection.pk}/upload/",
        f"/search/collections/{collection.pk}/paste/",
        f"/search/collections/{collection.pk}/delete/",
        f"/search/collections/{collection.pk}/model/",
        f"/search/collections/{collection.pk}/indexes/{collection.serving_id}/",
    ):
        assert as_other.post(path).status_code == 404, path
    asked = as_other.post("/search/ask/", {"q": "x", "passage": chunk.pk})
    assert "text=x" in asked["Location"]
    assert chunk.text[:10] not in asked["Location"]


def test_signed_out_people_are_sent_to_sign_in(db: None) -> None:
    assert "/accounts/" in Client().get("/search/")["Location"]
