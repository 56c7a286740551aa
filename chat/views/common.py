"""Share helpers among the views of the chat."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec

from asgiref.sync import async_to_sync
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from chat import selectors, services, uploads
from chat.html import fragments
from chat.models import Conversation
from chat.streaming import hub
from webapp.accounts.models import User

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def owned(view: View[P]) -> View[P]:
    """Require sign-in. Another user's objects are a 404; a refused action is a 409 with the reason."""

    @login_required
    @functools.wraps(view)
    def wrapped(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except selectors.NotFound as error:
            raise Http404(str(error)) from None
        except services.Refused as refusal:
            return HttpResponse(str(refusal), status=409, content_type="text/plain; charset=utf-8")
        except uploads.Unusable as problem:
            return HttpResponse(str(problem), status=422, content_type="text/plain; charset=utf-8")

    return wrapped


def who(request: HttpRequest) -> User:
    """Return the signed-in user."""
    assert isinstance(request.user, User)
    return request.user


def sidebar(request: HttpRequest) -> HttpResponse:
    """Return the list of conversations, with the open one marked."""
    listed = selectors.sidebar(who(request))
    page = request.headers.get("HX-Current-URL", "")
    current = next((one.id for one in listed if str(one.id) in page), None)
    return render(request, "chat/_conversations.html", {"groups": fragments.grouped(listed), "current": current})


def done(conversation: Conversation) -> HttpResponse:
    """Return 204 and refresh the conversation for all its readers."""
    async_to_sync(hub.nudge)(conversation.id)
    return HttpResponse(status=204)
