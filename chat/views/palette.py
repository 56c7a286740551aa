"""What the keyboard reaches: the palette."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from chat import command_palette, selectors
from chat.views.common import owned, who


@require_GET
@owned
def commands(request: HttpRequest) -> HttpResponse:
    """The palette's lines; the page narrows them by what is typed."""
    return render(request, "chat/_palette.html", {"groups": command_palette.groups(selectors.sidebar(who(request)))})
