"""Share helpers among the views of the chat."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Concatenate, ParamSpec
from uuid import UUID

from asgiref.sync import async_to_sync
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from chat import selectors, services, uploads
from chat.models import Conversation
from chat.streaming import hub
from webapp.accounts.models import User

_ID = re.compile(r"/chat/([0-9a-f-]{36})/")
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


def current(request: HttpRequest) -> UUID | None:
    """Return the conversation that the page shows which sent an htmx request."""
    found = _ID.search(request.headers.get("HX-Current-URL", ""))
    return UUID(found[1]) if found else None


def changed(response: HttpResponse) -> HttpResponse:
    """Have the page that gets this response load its list of conversations again."""
    response["HX-Trigger"] = '{"conversations-changed": {"target": "body"}}'
    return response


def done(conversation: Conversation) -> HttpResponse:
    """Return 204 and refresh the conversation for all its readers, and the list of the page that asked."""
    async_to_sync(hub.nudge)(conversation.id)
    return changed(HttpResponse(status=204))
