"""Serve the query page, "more like this", and the export of results."""

from __future__ import annotations

import csv
import io
import json
from datetime import date
from typing import Any
from urllib.parse import urlencode

from asgiref.sync import async_to_sync
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from search import selectors
from search.answers.preferences import answer_settings
from search.facets import count_facets
from search.models import Chunk, Collection, Index, SavedSearch
from search.ranking import citations, query
from search.ranking.query import NO_FILTERS, Results
from search.selectors import Filters
from search.views.people import who
from webapp.builtin import embeddings

PAGE = 10
MORE = 50
MAX_QUERY = 20_000
EXPORTED = 100
MAX_ASKED = 6
SAVED = 12
"""Saved searches on the page without a query; the page of all has the others."""


@login_required
@require_GET
def search(request: HttpRequest) -> HttpResponse:
    """Show the page, or only its results for htmx. The address holds all parameters of the search."""
    user = who(request)
    text, mode, filters = _text(request), _mode(request), _filters(request)
    like = _passage(request)
    limit = MORE if request.GET.get("more") else PAGE
    results = _ask(request, text, mode, filters, like, limit, rerank=bool(request.GET.get("rerank")))
    context: dict[str, Any] = {
        "facets": _facets(results, text, mode, filters, like),
        "q": text,
        "mode": mode,
        "filters": filters,
        "unfiltered": _address(text, mode, NO_FILTERS, like) if filters != NO_FILTERS else "",
        "kept": [(name, value) for name, value in (("kind", filters.kind), ("tag", filters.tag), ("since", filters.since)) if value],
        "like": like,
        "results": results,
        "more": results is not None and limit == PAGE and len(results.found) == PAGE,
        "address": _address(text, mode, filters, like),
        "recent": selectors.recent(user) if results is None else [],
        "saved": SavedSearch.objects.filter(user=user)[:SAVED] if results is None else [],
    }
    if request.headers.get("HX-Request-Type") == "partial":
        response = render(request, "search/_results.html", context)
        response["HX-Replace-Url"] = reverse("search:search") + context["address"]
        return response
    for model in selectors.builtin_models(user):
        embeddings.warm(model)  # while the user types
    return render(request, "search/search.html", context | _choices(request))


def _choices(request: HttpRequest) -> dict[str, Any]:
    user = who(request)
    return {
        "answers": answer_settings(user),
        "collections": selectors.collections(user),
        "modes": [("hybrid", "Both"), ("semantic", "Meaning"), ("keyword", "Words")],
    }


def _facets(results: Results | None, text: str, mode: str, filters: Filters, like: Chunk | None) -> list[dict[str, Any]]:
    """Return the facets of the results; each value with the address of the search that it narrows or widens."""
    found = count_facets(results.candidates, filters) if results and not results.weak else []
    return [
        {"label": facet.label, "values": [(value, _address(text, mode, value.filters, like) or "?") for value in facet.values]}
        for facet in found
    ]


def _ask(
    request: HttpRequest, text: str, mode: query.Mode, filters: Filters, like: Chunk | None, limit: int, *, rerank: bool = False
) -> Results | None:
    """Return the results, or None without a query."""
    if like is not None:
        return async_to_sync(query.similar)(who(request), like, filters=filters, limit=limit)
    if not text.strip():
        return None
    return async_to_sync(query.search)(who(request), text, mode=mode, filters=filters, limit=limit, rerank=rerank)


def _text(request: HttpRequest) -> str:
    return request.GET.get("q", "")[:MAX_QUERY].replace("\0", "")


def _mode(request: HttpRequest) -> query.Mode:
    given = request.GET.get("mode", "hybrid")
    return next((mode for mode in query.MODES if mode == given), "hybrid")


def _filters(request: HttpRequest) -> Filters:
    """Read the filters. Unreadable ones are ignored, except a collection, which then matches nothing."""
    given = request.GET
    try:
        since = date.fromisoformat(given.get("since", ""))
    except ValueError:
        since = None
    collection = given.get("collection", "")
    number = int(collection) if collection.isascii() and collection.isdigit() and len(collection) < 16 else 0
    return Filters(number if collection else None, given.get("kind", "")[:12], given.get("tag", "")[:40], since)


def _passage(request: HttpRequest) -> Chunk | None:
    """Return the passage for "more like this"; 404 if the user may not read it."""
    given = request.GET.get("like", "")
    if not given:
        return None
    found = selectors.chunks(who(request), [int(given)]) if given.isascii() and given.isdigit() and len(given) < 16 else {}
    if not found:
        raise Http404("no such passage")
    return next(iter(found.values()))


def address_of(request: HttpRequest) -> str:
    """Return the query string of the search in a request's address; empty for no search."""
    return _address(_text(request), _mode(request), _filters(request), _passage(request))


def _address(text: str, mode: str, filters: Filters, like: Chunk | None) -> str:
    """Return the query string of this search without empty parameters; empty for no search."""
    fields = {
        "q": text,
        "mode": mode if mode != "hybrid" else "",
        "collection": filters.collection or "",
        "kind": filters.kind,
        "tag": filters.tag,
        "since": filters.since.isoformat() if filters.since else "",
        "like": like.pk if like else "",
    }
    said = {name: value for name, value in fields.items() if value != ""}
    return "?" + urlencode(said) if said else ""


@login_required
@require_GET
def export(request: HttpRequest) -> HttpResponse:
    """Return the results as JSON or CSV."""
    results = _ask(request, _text(request), _mode(request), _filters(request), _passage(request), EXPORTED)
    rows = [citations.row(result, request.build_absolute_uri("/")) for result in (results.found if results else [])]
    if request.GET.get("format") == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, citations.FIELDS)
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
        response = HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8")
    else:
        response = HttpResponse(json.dumps(rows, ensure_ascii=False, indent=2), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="search.{"csv" if request.GET.get("format") == "csv" else "json"}"'
    return response


def _cell(value: Any) -> Any:
    """Escape text that a spreadsheet would run as a formula."""
    return "'" + value if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


@login_required
@require_GET
def compare(request: HttpRequest, pk: int, index_id: int) -> HttpResponse:
    """Search by meaning in the serving index and another one, side by side."""
    collection = get_object_or_404(Collection, pk=pk, owner=who(request))
    other = get_object_or_404(Index, pk=index_id, collection=collection)
    text = _text(request).strip()
    filters = Filters(collection=collection.pk)
    indexes = [index for index in (collection.serving, other) if index]
    answers = [
        async_to_sync(query.search)(who(request), text, mode="semantic", filters=filters, index=index) if text else Results()
        for index in indexes
    ]
    context = {"collection": collection, "q": text, "sides": list(zip(indexes, answers, strict=True))}
    return render(request, "search/compare.html", context)


@login_required
@require_POST
def ask(request: HttpRequest) -> HttpResponse:
    """Open a chat with a question and the chosen passages."""
    chosen = [
        int(value) for value in request.POST.getlist("passage")[:MAX_ASKED] if value.isascii() and value.isdigit() and len(value) < 16
    ]
    found = selectors.chunks(who(request), chosen)
    question = request.POST.get("q", "")[:2000].strip()
    prompt = citations.prompt(question, [found[pk] for pk in chosen if pk in found])
    return HttpResponse(status=303, headers={"Location": "/chat/?" + urlencode({"text": prompt})})
