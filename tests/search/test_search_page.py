"""The search page: facets, queries that match nothing, and saved searches."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import parse_qs

import pytest
from django.test import Client
from django.utils import timezone

from search import saved_searches, services
from search.models import Collection, Document, SavedSearch
from tests.search.conftest import CATS, ENGINES, Ingest
from tests.users import Users

FACET_LINK = re.compile(r'<a href="/search/(\?[^"]*)"[^>]*>\s*<span>([^<]+)</span>\s*(?:<span class="muted">([^<]+)</span>)?')


def facets(page: str) -> dict[str, tuple[str, str]]:
    """Return each value of the page's facets with its address and its number."""
    start = page.index('<aside class="facets"')
    part = page[start : page.index("</aside>")]
    return {label: (address.replace("&amp;", "&"), number) for address, label, number in FACET_LINK.findall(part)}


def test_facets_count_documents_and_their_links_keep_the_query(as_owner: Client, collection: Collection, ingest: Ingest) -> None:
    for number in range(3):
        ingest(f"oil-{number}.md", f"# Oil {number}\n\nThe oil of the engine, part {number}.\n\n# More oil\n\nOil again.")
    ingest("oil.txt", "Oil as plain text")
    ingest("engines.md", ENGINES, services.create_collection(owner=collection.owner, name="Machines"))
    Document.objects.filter(name="oil-0.md").update(tags=["fluid"], created_at=timezone.now() - timedelta(days=60))
    found = facets(as_owner.get("/search/", {"q": "oil", "mode": "keyword"}).content.decode())
    numbers = {label: number for label, (_, number) in found.items()}
    assert numbers == {"Library": "4", "Machines": "1", "markdown": "4", "text": "1", "Past week": "4", "Past month": "4"}
    address, _ = found["text"]
    assert parse_qs(address[1:]) == {"q": ["oil"], "mode": ["keyword"], "kind": ["text"]}
    narrowed = as_owner.get(f"/search/{address}").content.decode()
    assert narrowed.count('data-testid="search-result"') == 1
    assert facets(narrowed)["text"] == ("?q=oil&mode=keyword", "")
    assert '<input type="hidden" name="kind" value="text">' in narrowed


def test_a_filter_that_leaves_nothing_offers_the_search_without_it(as_owner: Client, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    page = as_owner.get("/search/", {"q": "wool", "mode": "keyword", "kind": "pdf"}).content.decode()
    assert "Nothing matches “wool”" in page
    assert 'href="/search/?q=wool&amp;mode=keyword"' in page


def test_weak_results_are_folded_behind_a_plain_statement(as_owner: Client, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    page = as_owner.get("/search/", {"q": "dogs in the park"}).content.decode()
    assert "Nothing matches “dogs in the park”" in page
    assert page.index("Nothing matches") < page.index("Show the nearest passages anyway") < page.index('data-testid="search-result"')
    assert 'class="facets"' not in page


def test_a_search_is_saved_opened_renamed_and_deleted(as_owner: Client, as_other: Client, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    saved_at = as_owner.post("/search/saved/?q=wool&kind=markdown&nonsense=1", {"name": "  My\n wool "})
    assert saved_at["Location"] == "/search/?q=wool&kind=markdown"
    assert '<a href="/search/?q=wool&amp;kind=markdown">' in as_owner.get("/search/").content.decode()
    kept = SavedSearch.objects.get()
    assert kept.name == "My wool"
    as_owner.post("/search/saved/?q=other", {"name": "My wool"})
    kept.refresh_from_db()
    assert kept.address == "?q=other"
    as_owner.post("/search/saved/?q=third", {"name": "Third"})
    page = as_owner.post(f"/search/saved/{kept.pk}/", {"do": "rename", "name": "Third"}, follow=True).content.decode()
    assert "You already have a search named “Third”" in page
    as_owner.post(f"/search/saved/{kept.pk}/", {"do": "rename", "name": "Second"})
    assert set(SavedSearch.objects.values_list("name", flat=True)) == {"Second", "Third"}
    assert as_other.post(f"/search/saved/{kept.pk}/", {"do": "delete"}).status_code == 404
    assert "Second" not in as_other.get("/search/saved/").content.decode()
    as_owner.post(f"/search/saved/{kept.pk}/", {"do": "delete"})
    assert SavedSearch.objects.count() == 1


def test_what_cannot_be_saved_is_refused(as_owner: Client, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_owner.post("/search/saved/", {"name": "nothing"}).status_code == 400
    assert "Enter a name" in as_owner.post("/search/saved/?q=x", {"name": " "}, follow=True).content.decode()
    assert "too long" in as_owner.post("/search/saved/?q=" + "x" * 4000, {"name": "x"}, follow=True).content.decode()
    monkeypatch.setattr(saved_searches, "MAX_SAVED", 1)
    as_owner.post("/search/saved/?q=x", {"name": "one"})
    assert "Delete one first" in as_owner.post("/search/saved/?q=x", {"name": "two"}, follow=True).content.decode()
    assert as_owner.post("/search/saved/1/", {"do": "x"}).status_code in (400, 404)
