"""Serve the lists of conversations: the sidebar, its search, the menu of an entry, and the archive."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET

from chat import search, selectors, sidebar
from chat.views.common import current, owned, who

MAX_QUERY = 400


@require_GET
@owned
def conversations(request: HttpRequest) -> HttpResponseBase:
    """Return the sidebar as long as the page has loaded it, or its next part (`?after=`, `?folder=`)."""
    user, after = who(request), request.GET.get("after")
    if after and (folder := request.GET.get("folder")):
        group = sidebar.folder(user, folder, sidebar.Cursor.parse(after))
        return render(request, "chat/_folder_part.html", {"group": group, "current": current(request)})
    if after:
        part = sidebar.later(user, after=sidebar.Cursor.parse(after))
        return render(request, "chat/_list_part.html", {"part": part, "under": request.GET.get("under"), "current": current(request)})
    if request.GET.get("q", "").strip():  # the sidebar shows results
        return find(request)
    shown = sum(int(count) for count in request.GET.getlist("shown") if count.isdecimal() and len(count) < 4)
    return render(request, "chat/_conversations.html", {"part": sidebar.first(user, shown), "current": current(request)})


@require_GET
@owned
def find(request: HttpRequest) -> HttpResponse:
    """Return the results of a search, or the usual list for an empty query."""
    query = request.GET.get("q", "").strip()[:MAX_QUERY]
    if not query:
        return render(request, "chat/_conversations.html", {"part": sidebar.first(who(request)), "current": current(request)})
    before = request.GET.get("before", "")
    results = search.find(who(request), query, int(before) if before.isdecimal() and len(before) < 20 else None)
    return render(request, "chat/_hits.html", {"results": results, "query": query, "first": not before})


@require_GET
@owned
def menu(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Return the menu of an entry in the sidebar."""
    shown = selectors.conversation(conversation_id, who(request))
    folders = sidebar.folder_names(who(request))
    return render(request, "chat/_menu.html", {"conversation": shown, "folders": folders, "at": "row-"})


@require_GET
@owned
def archive(request: HttpRequest) -> HttpResponse:
    """Show the archived conversations, or a part of their list (`?after=`). `?q=` finds words in their titles."""
    query, after = request.GET.get("q", "").strip()[:MAX_QUERY], request.GET.get("after")
    part = sidebar.archived(who(request), query, sidebar.Cursor.parse(after) if after else None)
    template = "chat/_archive.html" if request.headers.get("HX-Request") else "chat/archive.html"
    return render(request, template, {"part": part, "query": query})
