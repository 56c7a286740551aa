"""Serve the actions on one message."""

from __future__ import annotations

from uuid import UUID

from asgiref.sync import async_to_sync
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import HttpResponseClientRedirect

from chat import selectors, services
from chat.html import fragments
from chat.html.answer_html import key
from chat.streaming import hub
from chat.views.common import done, owned, who
from webapp.patterns.curl.commands import to_curl

PLAIN = "text/plain; charset=utf-8"


@require_POST
@owned
def branch(request: HttpRequest, message_id: UUID) -> HttpResponse:
    """Show the branch through this message."""
    message = selectors.message(message_id, who(request))
    services.show_branch(message=message)
    return done(message.conversation)


@require_POST
@owned
def pick(request: HttpRequest, message_id: UUID) -> HttpResponse:
    """Continue with one of the answers of a comparison. Answers that still run are stopped."""
    message = selectors.message(message_id, who(request))
    async_to_sync(hub.stop_and_wait)(message.conversation_id, who(request))
    services.pick_answer(message=message)
    return done(message.conversation)


@require_POST
@owned
def fork(request: HttpRequest, message_id: UUID) -> HttpResponse:
    """Continue from this message in a new conversation."""
    made = services.fork_conversation(message=selectors.message(message_id, who(request)))
    return HttpResponseClientRedirect(reverse("chat:conversation", args=[made.id]))


@require_POST
@owned
def delete_from(request: HttpRequest, message_id: UUID) -> HttpResponse:
    """Delete a message and everything after it."""
    message = selectors.message(message_id, who(request))
    services.delete_from(message=message)
    return done(message.conversation)


@require_GET
@owned
def markdown(request: HttpRequest, message_id: UUID) -> HttpResponse:
    """Return the source text of a message."""
    return HttpResponse(selectors.message(message_id, who(request)).text, content_type=PLAIN)


@require_GET
@owned
def curl(request: HttpRequest, message_id: UUID, number: int) -> HttpResponse:
    """Return the command that sends the exact request of an attempt."""
    message = selectors.message(message_id, who(request))
    sent = message.requests.filter(number=number).first()
    if sent is None:
        raise Http404("This request was not kept.")
    attempt = message.trail[number] if number < len(message.trail) else {}
    path = attempt.get("path", "chat/completions")
    headers = {"x-api-key": "", "anthropic-version": "2023-06-01"} if path == "messages" else {}
    return HttpResponse(to_curl(sent.body, sent.base_url, path, headers=headers), content_type=PLAIN)


@require_GET
@owned
def article(request: HttpRequest, message_id: UUID) -> HttpResponse:
    """Return one message as the log shows it."""
    message = selectors.message(message_id, who(request))
    turn = selectors.turn(message)
    turn.fate, turn.kept = selectors.fates(message.conversation).get(str(message.id), ""), True
    return HttpResponse(fragments.article(turn))


@require_GET
@owned
def edit(request: HttpRequest, message_id: UUID) -> HttpResponse:
    """Show the form that edits a question, in its place."""
    message = selectors.message(message_id, who(request))
    return render(request, "chat/_edit.html", {"message": message, "key": key(message.id)})
