"""Serve the pages of assistants."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from chat import assistants
from chat.forms import AssistantForm
from chat.selectors import NotFound
from chat.views import model_picker
from chat.views.common import owned, who

MAX_QUERY = 100


@require_GET
@owned
def index(request: HttpRequest) -> HttpResponse:
    """List the user's own assistants and the shared ones, or a part of the list (`?after=`). `?q=` searches them."""
    query = request.GET.get("q", "").strip()[:MAX_QUERY]
    found, last = assistants.page(who(request), query, _uuid(request.GET.get("after", "")))
    template = "chat/_assistant_list.html" if request.headers.get("HX-Request") else "chat/assistants.html"
    return render(request, template, {"assistants": found, "last": last, "query": query})


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise NotFound(text) from None


@require_http_methods(["GET", "POST"])
@owned
def edit(request: HttpRequest, assistant_id: UUID | None = None) -> HttpResponse:
    """Show the form of an assistant, new or existing, and save it."""
    user = who(request)
    edited = assistants.own(assistant_id, user) if assistant_id else None
    models = [offer.name for group in model_picker.offered(user) for offer in group.models]
    form = AssistantForm(request.POST or None, user=user, assistant=edited, models=models)
    if form.is_bound and form.is_valid():
        assistants.save_assistant(user=user, assistant=edited, **form.fields_of_assistant())
        return redirect("chat:assistants")
    return render(request, "chat/assistant.html", {"form": form, "edited": edited})


@require_POST
@owned
def delete(request: HttpRequest, assistant_id: UUID) -> HttpResponse:
    """Delete an assistant of the user's."""
    assistants.delete_assistant(assistant=assistants.own(assistant_id, who(request)))
    return redirect("chat:assistants")
