"""Serve the models that a user may choose in the chat, and remember the choice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from chat import assistants, selectors, services
from chat.views.common import owned, who
from webapp.accounts.models import User
from webapp.backends.runtime import registry
from webapp.backends.runtime.registry import Offered


class Group(NamedTuple):
    """Models under a heading: the routes, or the models of one backend."""

    name: str
    models: list[Offered]


def offered(user: User) -> list[Group]:
    """Return the models that can chat, routes first."""
    return grouped(offer for offer in async_to_sync(registry.offered)(user) if offer.chat)


def grouped(offers: Iterable[Offered]) -> list[Group]:
    """Return models in their order, under the names of their backends."""
    groups: dict[str, list[Offered]] = {}
    for offer in offers:
        groups.setdefault(_("Routes") if offer.kind == "route" else offer.name.partition("/")[0], []).append(offer)
    return [Group(name, models) for name, models in groups.items()]


@require_GET
@owned
def find(request: HttpRequest) -> HttpResponse:
    """Return the list that the model search narrows."""
    return render(request, "chat/_model_list.html", {"groups": offered(who(request)), "assistants": assistants.offered(who(request))})


@require_POST
@owned
def choose(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Remember the user's model, for this conversation if it exists and for new ones."""
    shown = selectors.conversation_or_fresh(conversation_id, who(request))
    services.choose_model(user=who(request), conversation=shown, model=request.POST.get("model", ""))
    return HttpResponse(status=204)
