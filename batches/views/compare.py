"""Compare a batch with another run, row by row."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from batches import selectors
from batches.models import Batch
from batches.results import comparison
from batches.views.monitor import ROW_NUMBER, of_own_batch, user_of


@of_own_batch
@require_GET
def compare(request: HttpRequest, batch: Batch) -> HttpResponse:
    """Show the answers of two batches side by side, or the choice of the second one."""
    other = _other(request)
    context: dict[str, Any] = {"batch": batch, "others": comparison.others(batch), "other": other}
    if other is not None:
        after = request.GET.get("after", "")
        only = request.GET.get("only") == "different"
        number = int(after) if ROW_NUMBER.fullmatch(after) else 0
        context |= {"page": comparison.compare(batch, other, after=number, only_different=only), "only": only}
        context["sides"] = [comparison.summary(batch), comparison.summary(other)]
    return render(request, "batches/compare.html", context)


def _other(request: HttpRequest) -> Batch | None:
    """Return the second batch; None if none is chosen."""
    text = request.GET.get("with", "")
    if not text:
        return None
    try:
        found = selectors.batch_of(user_of(request), uuid.UUID(text))
    except ValueError as error:
        raise Http404 from error
    if found is None:
        raise Http404
    return found
