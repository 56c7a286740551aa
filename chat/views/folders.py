"""Manage the folders of the sidebar. A folder exists as long as it has a conversation."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from chat import selectors, services
from chat.views.common import changed, done, owned, who


@require_POST
@owned
def move(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Move a conversation into the folder with this name, new or existing; an empty name removes it."""
    shown = selectors.conversation(conversation_id, who(request))
    services.move_to_folder(conversation=shown, folder=request.POST.get("folder", ""))
    return done(shown)


@require_POST
@owned
def rename(request: HttpRequest) -> HttpResponse:
    """Rename a folder."""
    services.rename_folder(user=who(request), name=request.POST.get("folder", ""), to=request.POST.get("name", ""))
    return changed(HttpResponse(status=204))


@require_POST
@owned
def delete(request: HttpRequest) -> HttpResponse:
    """Delete a folder. Its conversations stay."""
    services.delete_folder(user=who(request), name=request.POST.get("folder", ""))
    return changed(HttpResponse(status=204))
