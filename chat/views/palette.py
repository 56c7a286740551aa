"""Serve the command palette."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from chat import command_palette, search, selectors
from chat.views.common import owned, who


@require_GET
@owned
def commands(request: HttpRequest) -> HttpResponse:
    """Return the palette's options. The page filters them as the user types."""
    return render(request, "chat/_palette.html", {"groups": command_palette.groups(selectors.recent(who(request)))})


@require_GET
@owned
def conversations(request: HttpRequest) -> HttpResponse:
    """Return the conversations whose title contains the words of `?q=`, as options of the palette."""
    found = search.titles(who(request), request.GET.get("q", "")[:400])
    return render(request, "chat/_palette_found.html", {"conversations": found})
