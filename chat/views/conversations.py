"""What can be done with a conversation."""

from __future__ import annotations

from uuid import UUID

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST
from django_htmx.http import HttpResponseClientRedirect

from chat import hub, selectors, services
from chat.views.common import done, owned, who


@require_POST
@owned
def send(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Ask without the websocket: from a page whose scripts are not there yet, or not allowed."""
    user, text, model = who(request), request.POST.get("text", ""), request.POST.get("model", "")
    running = hub.hub()
    async_to_sync(running.begin)(
        lambda: services.send(owner=running.id, conversation_id=conversation_id, user=user, text=text, model=model)
    )
    return redirect("chat:conversation", conversation_id)


@require_POST
@owned
def rename(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    shown = selectors.conversation(conversation_id, who(request))
    if title := request.POST.get("title", "").strip():
        services.set_title(conversation_id=shown.id, title=title, by_user=True)
    return done(shown)


@require_POST
@owned
def delete(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Delete a conversation; an answer that is being written is stopped first."""
    shown = selectors.conversation(conversation_id, who(request))
    async_to_sync(hub.stop_and_wait)(shown.id, who(request))
    services.delete(conversation=shown)
    return HttpResponseClientRedirect(reverse("chat:new"))
