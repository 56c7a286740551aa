"""Conversations from elsewhere."""

from __future__ import annotations

import io

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from chat.transfer import import_writer, imports
from chat.views.common import owned, who


@require_http_methods(["GET", "POST"])
@owned
def import_file(request: HttpRequest) -> HttpResponse:
    """Take an export file of ChatGPT or Open WebUI: all of it, or nothing and why."""
    if request.method == "GET":
        return render(request, "chat/import.html")
    file = request.FILES.get("file")
    try:
        found = imports.read(file or io.BytesIO())
    except imports.Unreadable as problem:
        return render(request, "chat/import.html", {"problem": problem if file else "Choose a file first."}, status=422)
    added = import_writer.import_conversations(user=who(request), found=found)
    return render(request, "chat/import.html", {"added": added, "known": len(found) - added})
