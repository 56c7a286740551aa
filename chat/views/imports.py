"""Import conversations of other products."""

from __future__ import annotations

import io

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from chat.transfer import import_writer, imports
from chat.transfer.conversations import Unreadable
from chat.views.common import owned, who

SHOWN_PROBLEMS = 50


@require_http_methods(["GET", "POST"])
@owned
def import_file(request: HttpRequest) -> HttpResponse:
    """Import an export file: every conversation that can be read; the page names the others and says why."""
    if request.method == "GET":
        return render(request, "chat/import.html")
    file = request.FILES.get("file")
    try:
        found = imports.read(file or io.BytesIO())
    except Unreadable as problem:
        return render(request, "chat/import.html", {"problems": [str(problem) if file else _("Choose a file first.")]}, status=422)
    context = {"problems": found.problems[:SHOWN_PROBLEMS], "more_problems": max(0, len(found.problems) - SHOWN_PROBLEMS)}
    if not found.conversations:
        return render(request, "chat/import.html", context, status=422 if found.problems else 200)
    added = import_writer.import_conversations(user=who(request), found=found.conversations)
    return render(request, "chat/import.html", {**context, "added": added, "skipped": len(found.conversations) - added})
