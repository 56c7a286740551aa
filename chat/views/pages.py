"""Serve the conversation page and its parts."""

from __future__ import annotations

import uuid
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from chat import selectors, sidebar
from chat.html import fragments
from chat.models import Conversation
from chat.views.common import owned, who
from webapp.backends.runtime import registry

MAX_DRAFT = 20_000


@require_GET
@owned
def new(request: HttpRequest) -> HttpResponse:
    """Show a new conversation, which is stored with its first question. `?text=` fills the composer."""
    fresh = Conversation(id=uuid.uuid4(), user=who(request), model=request.GET.get("model", "default"))
    return _page(request, fresh, draft=request.GET.get("text", "")[:MAX_DRAFT])


@require_GET
@owned
def conversation(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Show a conversation."""
    return _page(request, selectors.conversation(conversation_id, who(request)))


def _page(request: HttpRequest, shown: Conversation, draft: str = "") -> HttpResponse:
    """Return the page with its log. Later changes come over the websocket."""
    page, listed = selectors.page(shown), sidebar.first(who(request))
    context: dict[str, Any] = {
        "conversation": shown,
        "log": fragments.log(page, shown),
        "fresh": not page.turns,
        "draft": draft,
        "part": listed,
        "current": shown.id,
        "folders": [group.name for group in listed.groups if group.folder],
        "models": [offer for offer in async_to_sync(registry.offered)(who(request)) if offer.chat],
        "stamp": fragments.stamp(shown),
    }
    return render(request, "chat/page.html", context)


@require_GET
@owned
def earlier(request: HttpRequest, conversation_id: UUID, before: UUID) -> HttpResponse:
    """Return the part of the log before a message, for a page that scrolled up to it."""
    shown = selectors.conversation(conversation_id, who(request))
    return HttpResponse(fragments.log(selectors.page(shown, before=before), shown))
