"""Reranking on the search page: on Enter, and not while a query is typed."""

from __future__ import annotations

import time
from collections.abc import Callable

from playwright.sync_api import expect

from tests.live import PATIENCE, Live, OpenPage
from tests.upstream import Upstream, status

FILL = """
from search import services
from search.models import Collection
from webapp.accounts.models import User
from webapp.backends.models import Backend, BackendModel
from webapp.backends.services.configuration import add_backend

owner = User.objects.get(username="owner")
backend = add_backend(name="jina", base_url={address!r})
Backend.objects.filter(pk=backend.pk).update(enabled=True)
BackendModel.objects.create(
    backend=backend, name="jina-reranker", capabilities={{"chat": False, "embeddings": False}}, input_price=1000
)
collection = services.create_collection(owner=owner, name="Kittens")
Collection.objects.filter(pk=collection.pk).update(rerank_with="jina/jina-reranker")
for name in ("one.txt", "two.txt", "three.txt"):
    services.add_file(collection=collection, name=name, content=[f"Kittens play with wool, says {{name}}.".encode()])
"""
READY = "from search.models import Document; print(Document.objects.filter(collection__name='Kittens', state='ready').count())"
ORDER = {"results": [{"index": number, "relevance_score": number / 10} for number in range(3)], "usage": {"total_tokens": 12}}


def wait_until_read(live: Live) -> None:
    deadline = time.monotonic() + PATIENCE / 1000
    while live.run_python(READY).strip() != "3":
        assert time.monotonic() < deadline, "the documents were not read"
        time.sleep(0.2)


def test_enter_reranks_and_typing_does_not(
    new_live: Callable[..., Live], browser_page: OpenPage, make_upstream: Callable[..., Upstream]
) -> None:
    upstream = make_upstream()
    upstream.paths["/v1/rerank"] = status(200, ORDER)
    live = new_live()
    live.run_python(FILL.format(address=upstream.base_url))
    wait_until_read(live)
    page = browser_page(live, "owner")
    page.goto("/search/")
    page.get_by_test_id("search-input").press_sequentially("kittens wool")
    expect(page.locator("[data-results]")).to_be_visible()
    expect(page.get_by_test_id("reranked")).to_have_count(0)
    asked = [request for request in upstream.requests if request.path == "/v1/rerank"]
    assert asked == []
    page.get_by_test_id("search-input").press("Enter")
    expect(page.get_by_test_id("reranked")).to_contain_text("Reranked by jina/jina-reranker")
    expect(page.get_by_test_id("reranked")).to_contain_text("$0.01200")
    assert "rerank" not in page.url
