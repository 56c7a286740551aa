"""The pages of the chat. Answers are written over the websocket (consumers.py); here is what surrounds them."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec
from uuid import UUID

from asgiref.sync import async_to_sync
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from chat import fragments, hub, selectors, services
from chat.models import Conversation
from webapp.accounts.models import User
from webapp.backends import registry
from webapp.patterns.curl import to_curl

SIDEBAR = 60
P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def owned(view: View[P]) -> View[P]:
    """Signed in, and what is somebody else's does not exist."""

    @login_required
    @functools.wraps(view)
    def wrapped(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except selectors.NotFound as error:
            raise Http404(str(error)) from None
        except services.Refused as refusal:
            return HttpResponse(str(refusal), status=409, content_type="text/plain; charset=utf-8")

    return wrapped


def who(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def done(conversation: Conversation) -> HttpResponse:
    """204, and everybody who has the conversation open sees it anew."""
    async_to_sync(hub.nudge)(conversation.id)
    return HttpResponse(status=204)


@require_GET
@owned
def new(request: HttpRequest) -> HttpResponse:
    """A fresh conversation: it comes to be with its first question."""
    return _page(request, Conversation(id=uuid.uuid4(), user=who(request), model=request.GET.get("model", "default")))


@require_GET
@owned
def conversation(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    return _page(request, selectors.conversation(conversation_id, who(request)))


def _page(request: HttpRequest, shown: Conversation) -> HttpResponse:
    """The page. The log comes with it, except an answer that is being written: that comes over the websocket."""
    page = selectors.page(shown)
    context: dict[str, Any] = {
        "conversation": shown,
        "log": fragments.log(page, shown),
        "fresh": not page.turns,
        "groups": fragments.grouped(list(selectors.conversations(who(request))[:SIDEBAR])),
        "current": shown.id,
        "models": async_to_sync(registry.offered)(who(request)),
        "stamp": fragments.stamp(shown),
    }
    return render(request, "chat/page.html", context)


@require_GET
@owned
def earlier(request: HttpRequest, conversation_id: UUID, before: UUID) -> HttpResponse:
    """The stretch of the log before a message, for the page that scrolled up to it."""
    shown = selectors.conversation(conversation_id, who(request))
    return HttpResponse(fragments.log(selectors.page(shown, before=before), shown))


@require_POST
@owned
def branch(request: HttpRequest, message_id: UUID) -> HttpResponse:
    """Show another branch."""
    message = selectors.message(message_id, who(request))
    services.show_branch(message=message)
    return done(message.conversation)


@require_POST
@owned
def delete_from(request: HttpRequest, message_id: UUID) -> HttpResponse:
    """Delete a message and what follows it."""
    message = selectors.message(message_id, who(request))
    services.delete_from(message=message)
    return done(message.conversation)


@require_GET
@owned
def markdown(request: HttpRequest, message_id: UUID) -> HttpResponse:
    """An answer as the model wrote it."""
    return HttpResponse(selectors.message(message_id, who(request)).text, content_type="text/plain; charset=utf-8")


@require_GET
@owned
def curl(request: HttpRequest, message_id: UUID, number: int) -> HttpResponse:
    """The command that sends the very request that an attempt sent."""
    sent = selectors.message(message_id, who(request)).requests.filter(number=number).first()
    if sent is None:
        raise Http404("This request was not kept.")
    return HttpResponse(to_curl(sent.body, sent.base_url), content_type="text/plain; charset=utf-8")


@require_POST
@owned
def rename(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    shown = selectors.conversation(conversation_id, who(request))
    if title := request.POST.get("title", "").strip():
        services.set_title(conversation_id=shown.id, title=title, by_user=True)
    return redirect("chat:conversation", shown.id)


@require_POST
@owned
def delete(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Delete a conversation; an answer that is being written is stopped first."""
    shown = selectors.conversation(conversation_id, who(request))
    async_to_sync(hub.stop_and_wait)(shown.id, who(request))
    services.delete(conversation=shown)
    return redirect("chat:new")
