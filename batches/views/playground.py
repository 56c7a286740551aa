"""Try the template of a new batch on one row: send the request, and show the answer with its attempts."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from itertools import islice
from typing import Final

from asgiref.sync import sync_to_async
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import render

from batches.forms import LinesForm, TableForm
from batches.input import tables
from batches.views.create import form_of, opened_rows
from batches.views.monitor import user_of
from webapp.accounts.models import User
from webapp.backends.runtime import registry
from webapp.patterns.agent import structured
from webapp.patterns.errors import InputError, OutputError, PatternError
from webapp.patterns.types import AttemptLog, Json, Request

TRY_SECONDS: Final = 180.0
MAX_SHOWN: Final = 20_000


@dataclass(frozen=True, slots=True)
class RowRequest:
    """The request of one row, and the schema that its answer must match; None for any answer."""

    user: User
    custom_id: str
    endpoint: str
    body: Json
    schema: Json | None


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """The answer to one row, and why it is not usable; empty where it is."""

    text: str
    problem: str = ""


async def try_row(request: HttpRequest) -> HttpResponse:
    """Send the request of one row. It runs in the server's event loop, which owns the connections to backends."""
    refused = await sync_to_async(_check_user)(request)
    if refused is not None:
        return refused
    try:
        asked = await sync_to_async(_row)(request)
    except InputError as error:
        return await sync_to_async(render)(request, "batches/_try.html", {"problems": error.message.splitlines()})
    trail = AttemptLog()
    answer = await _ask(asked, trail)
    path, model = asked.endpoint.removeprefix("/v1/"), str(asked.body["model"])
    registry.record(trail, request_id=uuid.uuid4(), source="batch", user_id=asked.user.pk, route=model, endpoint=path)
    context = {"asked": asked, "answer": answer, "attempts": trail.attempts}
    return await sync_to_async(render)(request, "batches/_try.html", context)


def _check_user(request: HttpRequest) -> HttpResponse | None:
    """Return what someone gets who may not ask: the sign-in page, or the refusal of another method than POST."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    return None if request.method == "POST" else HttpResponseNotAllowed(["POST"])


def _row(request: HttpRequest) -> RowRequest:
    """Return the request of the chosen row.

    Raises:
        InputError: the form is not complete, or there is no such row.
    """
    user = user_of(request)
    form = form_of("lines" if request.GET.get("source") == "lines" else "table", user, request.POST, request.FILES)
    assert isinstance(form, TableForm | LinesForm)
    if not form.is_valid():
        raise InputError("\n".join(form.problems()) or "Fill in the form first.")
    text = request.POST.get("row", "")
    number = int(text) if text.isdecimal() and 0 < len(text) < 8 else 1
    with opened_rows(user, form) as (rows, _name):
        found = next(islice(tables.requests(rows, form.prompting()), max(number, 1) - 1, None), None)
    if found is None:
        raise InputError(f"Row {number} does not exist.")
    custom_id, body = found
    return RowRequest(user, custom_id, form.cleaned_data["endpoint"], body, form.cleaned_data["schema"])


async def _ask(asked: RowRequest, trail: AttemptLog) -> RowAnswer:
    """Return the answer to the row, as a batch would get it."""
    request = Request(asked.body, asked.endpoint.removeprefix("/v1/"))
    try:
        async with asyncio.timeout(TRY_SECONDS):
            chain = await registry.resolve(str(asked.body["model"]), user=asked.user)
            if asked.schema is not None:
                return RowAnswer((await structured.parse(chain, request, asked.schema, trail=trail)).raw[:MAX_SHOWN])
            answer = await chain.send(request, trail=trail)
    except OutputError as error:
        return RowAnswer(error.raw[:MAX_SHOWN], error.message)
    except PatternError as error:
        return RowAnswer("", error.message)
    except TimeoutError:
        return RowAnswer("", f"There was no answer within {TRY_SECONDS:.0f} seconds.")
    if request.path == "embeddings":
        return RowAnswer(f"A vector of {len(answer.body['data'][0]['embedding'])} numbers.")
    return RowAnswer(answer.text[:MAX_SHOWN])
