"""The pages of stored responses: a list, one response with its items and events, and what can be done with it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from webapp.accounts.models import User
from webapp.core.keysets import following
from webapp.gateway.models import MAX_ID_CHARS, StoredResponse
from webapp.gateway.responses import jobs, lookup, records
from webapp.patterns.responses.content import text_of
from webapp.patterns.responses.objects import TERMINAL, output_text
from webapp.patterns.types import Json
from webapp.ports.chats import ChatDraft, ChatTurn, opener
from webapp.ports.files_and_batches import ApiError

PAGE = 30
EVENTS = 200
"""Events on one page."""
TITLE_CHARS = 80


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _found(request: HttpRequest, name: str) -> StoredResponse:
    """Return the user's response; raise a 404."""
    try:
        return lookup.response(_user(request).pk, name)
    except ApiError as error:
        raise Http404(error.message) from error


@login_required
@never_cache
@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """List the user's responses, newest first; `before` is the place that the page before ended with."""
    rows = lookup.responses_of(_user(request).pk)
    if (before := _place(request.GET.get("before", ""))) is not None:
        rows = rows.filter(following(lookup.NEWEST_FIRST, before))
    found = list(rows[: PAGE + 1])
    listed = [{"row": row, "title": title_of(row), "tokens": (row.response.get("usage") or {}).get("total_tokens")} for row in found[:PAGE]]
    last = found[PAGE - 1] if len(found) > PAGE else None
    context = {"listed": listed, "more": f"{last.created_at.isoformat()}_{last.pk}" if last else "", "is_first": before is None}
    return render(request, "gateway/responses.html", context)


def _place(text: str) -> tuple[datetime, str] | None:
    """Return the time and id that a link names; None for anything else."""
    when, _, key = text[: 40 + MAX_ID_CHARS].replace(" ", "+").replace("\0", "").partition("_")
    try:
        created_at = datetime.fromisoformat(when)
    except ValueError:
        return None
    return (created_at, key) if created_at.tzinfo else None


@login_required
@never_cache
@require_GET
def detail(request: HttpRequest, name: str) -> HttpResponse:
    """Show one response: what went in, what came out, and its events."""
    row = _found(request, name)
    page = {
        "row": row,
        "title": title_of(row),
        "active": row.status not in TERMINAL,
        "input": _shown(row.input),
        "output": _shown(row.response.get("output") or ()),
        "error": row.response.get("error"),
        "why": (row.response.get("incomplete_details") or {}).get("reason"),
        "usage": row.response.get("usage"),
        "chat": opener() is not None,
        **_events(request, row),
    }
    return render(request, "gateway/response.html", page)


def title_of(row: StoredResponse) -> str:
    """Return the first words of the last message that went in, else of what came out."""
    for item in reversed(row.input):
        if item.get("type") == "message" and (text := text_of(item.get("content")).strip()):
            return _short(text)
    return _short(output_text(row.response)) or "Response"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= TITLE_CHARS else f"{text[:TITLE_CHARS]}…"


def _shown(items: Iterable[Json]) -> list[Json]:
    """Return items for the page: who or what, its text, and all of it as JSON."""
    return [{"kind": _kind(item), "text": _text(item), "json": _json(item)} for item in items]


def _kind(item: Json) -> str:
    kind = str(item.get("type") or "")
    return str(item.get("role") or "message") if kind == "message" else kind.replace("_", " ")


def _text(item: Json) -> str:
    if item.get("type") == "message":
        return text_of(item.get("content"))
    if item.get("type") == "reasoning":
        return text_of(item.get("summary")) or text_of(item.get("content"))
    return ""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _events(request: HttpRequest, row: StoredResponse) -> Json:
    """Return one page of the events, from number `from` on."""
    wanted = request.GET.get("from", "0")
    start = int(wanted) if wanted.isdecimal() and len(wanted) < 10 else 0
    found = lookup.events_after(row.pk, start - 1)
    raws = found.events if found else []
    events = [_event(raw, start + number) for number, raw in enumerate(raws[:EVENTS])]
    following = start + EVENTS if len(raws) > EVENTS else None
    return {"events": events, "start": start, "following": following, "previous_events": max(0, start - EVENTS) if start else None}


def _event(raw: bytes, number: int) -> Json:
    head, _, data = raw.decode().partition("\n")
    return {"number": number, "name": head.removeprefix("event: "), "data": data.removeprefix("data: ").strip()}


@login_required
@require_POST
def open_as_chat(request: HttpRequest, name: str) -> HttpResponse:
    """Open the conversation that led to a response, and its answer, as a chat."""
    row = _found(request, name)
    open_chat = opener()
    draft = ChatDraft(row.pk, title_of(row), _turns(row), _instructions(row), row.model)
    if open_chat is None or not draft.turns:
        messages.error(request, gettext("This response holds no messages to open."))
        return redirect("gateway:response", name=name)
    return redirect(open_chat(_user(request), draft))


def _turns(row: StoredResponse) -> list[ChatTurn]:
    """Return the messages of the whole conversation; neighbors of one role become one turn."""
    try:
        before = lookup.history(row.user_id, row.previous) if row.previous else []
    except ApiError:  # an earlier response was deleted: the rest still opens
        before = []
    turns: list[ChatTurn] = []
    for item in (*before, *row.input, *(row.response.get("output") or ())):
        role = item.get("role")
        text = text_of(item.get("content")).strip() if item.get("type") == "message" else ""
        if not text or role not in {"user", "assistant"}:
            continue
        if turns and turns[-1].role == role:
            text = f"{turns.pop().text}\n\n{text}"
        turns.append(ChatTurn(role, text, row.model if role == "assistant" else ""))
    return turns


def _instructions(row: StoredResponse) -> str:
    given = row.request.get("instructions")
    return given if isinstance(given, str) else ""


@login_required
@require_POST
def cancel(request: HttpRequest, name: str) -> HttpResponse:
    """Ask for a background response to be cancelled."""
    row = _found(request, name)
    if row.background and row.status not in TERMINAL:
        records.request_cancel(row)
        jobs.wake()
        messages.success(request, gettext("The response is being cancelled."))
    return redirect("gateway:response", name=name)


@login_required
@require_POST
def delete(request: HttpRequest, name: str) -> HttpResponse:
    """Delete a response with its events."""
    records.delete_response(_found(request, name))
    messages.success(request, gettext("The response is deleted."))
    return redirect("gateway:responses")
