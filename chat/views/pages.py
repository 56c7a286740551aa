"""Serve the conversation page and its parts."""

from __future__ import annotations

import uuid
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from chat import assistants, selectors, services, sidebar
from chat.html import fragments
from chat.html.answer_html import key
from chat.models import DEFAULT_MODEL, Conversation
from chat.views import model_picker
from chat.views.common import owned, who

MAX_DRAFT = 20_000


@require_GET
@owned
def new(request: HttpRequest) -> HttpResponse:
    """Show a new conversation, which is stored with its first question. `?text=` fills the composer."""
    fresh = Conversation(id=uuid.uuid4(), user=who(request))
    try:
        assistants.choose(fresh, request.GET.get("model") or who(request).chat_model or DEFAULT_MODEL)
    except selectors.NotFound:  # an assistant that is gone, or no longer shared
        fresh.model = DEFAULT_MODEL
    return _page(request, fresh, draft=request.GET.get("text", "")[:MAX_DRAFT])


@require_GET
@owned
def conversation(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Show a conversation, at its end or at a message (`?message=`). A message of another branch has its branch shown."""
    shown = selectors.conversation(conversation_id, who(request))
    linked = _uuid(request.GET.get("message", ""))
    if linked:
        message = selectors.message(linked, who(request))
        if message.conversation_id != shown.id:
            raise selectors.NotFound(str(linked))
        if linked not in selectors.path_ids(shown.id, shown.leaf_id):
            services.show_branch(message=message)
            shown.refresh_from_db()
    return _page(request, shown, linked=linked)


def _uuid(text: str) -> UUID | None:
    """Return the id in an address; None for anything else."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _page(request: HttpRequest, shown: Conversation, draft: str = "", linked: UUID | None = None) -> HttpResponse:
    """Return the page with its log, around a message if one is linked. Later changes come over the websocket."""
    page, listed, groups = selectors.page(shown), sidebar.first(who(request)), model_picker.offered(who(request))
    if linked:
        page = selectors.page_around(shown, linked)
    context: dict[str, Any] = {
        "assistants": assistants.offered(who(request), shown.assistant),
        "conversation": shown,
        "log": fragments.log(page, shown),
        "fresh": not page.turns,
        "draft": draft,
        "linked": key(linked) if linked else "",
        "part": listed,
        "current": shown.id,
        "folders": [group.name for group in listed.groups if group.folder],
        "model_groups": groups,
        "model_count": sum(len(group.models) for group in groups),
        "model_offered": bool(shown.assistant) or any(offer.name == shown.model for group in groups for offer in group.models),
        "stamp": fragments.stamp(shown),
    }
    return render(request, "chat/page.html", context)


@require_GET
@owned
def earlier(request: HttpRequest, conversation_id: UUID, before: UUID) -> HttpResponse:
    """Return the part of the log before a message, for a page that scrolled up to it."""
    shown = selectors.conversation(conversation_id, who(request))
    return HttpResponse(fragments.log(selectors.page(shown, before=before), shown))


@require_GET
@owned
def later(request: HttpRequest, conversation_id: UUID, after: UUID, until: UUID) -> HttpResponse:
    """Return the part of the log after a message, for a page that was opened in the middle and scrolled down."""
    shown = selectors.conversation(conversation_id, who(request))
    page = selectors.page_after(shown, after, until)
    shown.leaf_id = until
    return HttpResponse(fragments.log(page, shown))
