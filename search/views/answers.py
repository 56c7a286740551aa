"""Stream the answer above the results, and store whether to write one."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from search import selectors
from search.answers.preferences import answer_settings, set_answer_preference
from search.answers.writing import MAX_PASSAGES, Frame, write_answer
from search.models import Chunk
from search.views.people import who
from webapp.accounts.models import User
from webapp.core.database import in_database
from webapp.patterns.errors import InputError

FORMAT = "application/x-ndjson"


@login_required
@require_POST
async def answer(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Stream an answer from the passages that the page shows: one JSON object a line. A closed connection stops the model."""
    user = await request.auser()
    assert isinstance(user, User)
    question = request.POST.get("q", "").strip()
    settings = await in_database(answer_settings, user)
    passages = await in_database(_passages, user, request.POST.getlist("passage"))
    if not settings.enabled or not question or not passages:
        return HttpResponse(status=400)
    response = StreamingHttpResponse(_lines(write_answer(user, settings.model, question, passages)), content_type=FORMAT)
    response["X-Accel-Buffering"] = "no"  # a proxy must not hold the stream back
    return response


def _passages(user: User, given: list[str]) -> list[Chunk]:
    """Return those of these passages that the user may read, in this order: their places are the numbers that the answer cites."""
    ids = [int(text) for text in given[:MAX_PASSAGES] if text.isascii() and text.isdigit() and len(text) < 16]
    found = selectors.chunks(user, ids)
    return [found[pk] for pk in ids if pk in found] if len(found) == len(ids) else []


async def _lines(frames: AsyncGenerator[Frame, None]) -> AsyncIterator[bytes]:
    async with aclosing(frames):
        async for frame in frames:
            yield json.dumps(frame, ensure_ascii=False).encode() + b"\n"


@login_required
@require_POST
def change_settings(request: HttpRequest) -> HttpResponse:
    """Store whether to write answers, and by which model."""
    try:
        set_answer_preference(user=who(request), enabled=bool(request.POST.get("enabled")), model=request.POST.get("model", ""))
    except InputError as error:
        if request.headers.get("HX-Request"):
            return HttpResponse(error.message, status=400, content_type="text/plain")
        messages.error(request, error.message)
    return HttpResponse(status=204) if request.headers.get("HX-Request") else redirect("search:search")
