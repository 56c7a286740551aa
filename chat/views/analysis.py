"""Show the panel with a conversation's analysis."""

from __future__ import annotations

from uuid import UUID

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from chat import selectors, services
from chat.generation.analysis import analyze
from chat.views.common import owned, who


@require_http_methods(["GET", "POST"])
@owned
def panel(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Show the last analysis; on POST, a new one or the reason why there is none."""
    shown = selectors.conversation(conversation_id, who(request))
    problem = ""
    if request.method == "POST":
        try:
            found = async_to_sync(analyze)(shown, who(request), selectors.branch(shown))
            services.change_conversation(conversation=shown, analysis=found.model_dump())
        except services.Refused as refusal:
            problem = str(refusal)
    return render(request, "chat/_analysis.html", {"conversation": shown, "analysis": shown.analysis, "problem": problem})
