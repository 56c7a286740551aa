"""Show the batch monitor: the list, one batch, its rows, downloads, and actions."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from functools import wraps
from operator import attrgetter
from typing import Concatenate, ParamSpec

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from batches import selectors, services
from batches.execution import runner
from batches.models import Batch
from batches.results import outputs, text_collection
from batches.results.downloads import in_thread
from batches.results.row_display import monitor, row_detail
from webapp.accounts.models import User
from webapp.patterns.errors import PatternError

P = ParamSpec("P")
PAGE = 30
MAX_QUERY = 300
ROW_NUMBER = re.compile(r"[0-9]{1,9}")
STATUSES = [
    ("", "All"),
    ("active", "Running"),
    *[(value, label) for value, label in Batch.Status.choices if value in {"completed", "failed", "cancelled", "expired"}],
]


def user_of(request: HttpRequest) -> User:
    """Return the signed-in user. The views require sign-in."""
    assert isinstance(request.user, User)
    return request.user


def of_own_batch(view: Callable[Concatenate[HttpRequest, Batch, P], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Pass the batch with the id to the view if it belongs to the user; otherwise 404."""

    @login_required
    @never_cache
    @wraps(view)
    def found(request: HttpRequest, batch_id: uuid.UUID, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        batch = selectors.batch_of(user_of(request), batch_id)
        if batch is None:
            raise Http404
        return view(request, batch, *args, **kwargs)

    return found


def _text(request: HttpRequest) -> str:
    """Return the searched text, truncated, because SQLite refuses long patterns."""
    return request.GET.get("q", "").strip()[:MAX_QUERY]


@login_required
@never_cache
@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """List the user's batches; only the table for htmx, which polls while something runs."""
    status, text = request.GET.get("status", ""), _text(request)
    found = selectors.search(user_of(request), status=status, text=text)
    page = Paginator(found, PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "status": status,
        "text": text,
        "statuses": STATUSES,
        "rows": [(batch, selectors.progress(batch)) for batch in page],
        "running": any(batch.is_active for batch in page),
    }
    return render(request, "batches/_list.html" if request.headers.get("HX-Request") else "batches/index.html", context)


@of_own_batch
@require_GET
def detail(request: HttpRequest, batch: Batch) -> HttpResponse:
    """Show one batch."""
    page = selectors.rows(batch)
    return render(request, "batches/detail.html", {**monitor(batch), "page": page, "state": "", "text": ""})


@of_own_batch
@require_GET
def status(request: HttpRequest, batch: Batch) -> HttpResponse:
    """Show the part that changes while a batch runs. A change of status also refreshes the rows."""
    response = render(request, "batches/_monitor.html", monitor(batch))
    if request.GET.get("seen") != batch.status:
        response["HX-Trigger"] = '{"rows-changed": {"target": "#rows"}}'
    return response


@of_own_batch
@require_GET
def rows(request: HttpRequest, batch: Batch) -> HttpResponse:
    """Show a page of rows, filtered and searched."""
    state, text = request.GET.get("state", ""), _text(request)
    after = request.GET.get("after", "")
    page = selectors.rows(batch, state=state, text=text, after=int(after) if ROW_NUMBER.fullmatch(after) else 0)
    context = {"batch": batch, "page": page, "state": state, "text": text}
    return render(request, "batches/_more_rows.html" if after else "batches/_rows.html", context)


@of_own_batch
@require_GET
def row(request: HttpRequest, batch: Batch, number: int) -> HttpResponse:
    """Show one row: request, response, attempts, curl."""
    found = batch.rows.filter(number=number).first()
    if found is None:
        raise Http404
    return render(request, "batches/_row.html", row_detail(batch, found, base_url=request.build_absolute_uri("/v1")))


def _action(do: Callable[[Batch], tuple[str, Batch | None]]) -> Callable[..., HttpResponseBase]:
    """Return a view for a button: run one action, report it, and redirect to its batch."""

    @of_own_batch
    @require_POST
    def view(request: HttpRequest, batch: Batch) -> HttpResponse:
        try:
            said, target = do(batch)
        except PatternError as error:
            messages.error(request, error.message)
            return _to(batch)
        runner.wake()
        messages.success(request, said)
        return _to(target) if target else redirect("batches:index")

    return view


def _to(batch: Batch) -> HttpResponseRedirect:
    return redirect("batches:detail", batch_id=batch.pk)


def _cancel(batch: Batch) -> tuple[str, Batch | None]:
    said = (
        "No longer followed. The job continues at the backend."
        if batch.followed
        else "Cancelling. Open requests are closed, and finished rows are kept."
    )
    return said, services.cancel_batch(batch=batch)


def _resume(batch: Batch) -> tuple[str, Batch | None]:
    services.resume_batch(batch=batch)
    return "Trying again.", batch


def _retry(batch: Batch) -> tuple[str, Batch | None]:
    return "This new batch sends the rows without a good answer. Merged downloads the answers of both in one file.", services.retry_failed(
        batch=batch
    )


def _clone(batch: Batch) -> tuple[str, Batch | None]:
    return "This new batch runs the same input again.", services.clone_batch(batch=batch)


def _delete(batch: Batch) -> tuple[str, Batch | None]:
    services.delete_batch(batch=batch)
    return "The batch, its results and its input are deleted.", None


cancel, resume, retry_failed, clone, delete = (_action(do) for do in (_cancel, _resume, _retry, _clone, _delete))


@of_own_batch
@require_POST
def search(request: HttpRequest, batch: Batch) -> HttpResponse:
    """Index the answers and redirect to their collection."""
    try:
        address = text_collection.index(batch=batch)
    except PatternError as error:
        messages.error(request, error.message)
        return _to(batch)
    messages.success(request, _("The answers are being indexed. You can search them as they come in."))
    return redirect(address)


def _download(
    name: str, content_type: str, make: Callable[[Batch], Iterator[bytes]], *, is_there: Callable[[Batch], bool]
) -> Callable[..., HttpResponseBase]:
    @of_own_batch
    @require_GET
    def view(request: HttpRequest, batch: Batch) -> StreamingHttpResponse:  # noqa: ARG001 - a view's signature
        if not is_there(batch):
            raise Http404
        response = StreamingHttpResponse(in_thread(make(batch)), content_type=content_type)
        response["Content-Disposition"] = f'attachment; filename="{batch.api_id}_{name}"'
        return response

    return view


def _lines(*, good: bool) -> Callable[[Batch], Iterator[bytes]]:
    return lambda batch: outputs.pieces(outputs.lines(batch, good=good))


output = _download("output.jsonl", "application/jsonl", _lines(good=True), is_there=attrgetter("has_output"))
errors = _download("errors.jsonl", "application/jsonl", _lines(good=False), is_there=attrgetter("has_errors"))
merged = _download(
    "merged.jsonl", "application/jsonl", lambda batch: outputs.pieces(outputs.merged_lines(batch)), is_there=attrgetter("total")
)
merged_table = _download(
    "merged.csv", "text/csv; charset=utf-8", lambda batch: outputs.pieces(outputs.merged_csv(batch)), is_there=attrgetter("total")
)
joined = _download(
    "joined.csv", "text/csv; charset=utf-8", lambda batch: outputs.pieces(outputs.joined_csv(batch)), is_there=attrgetter("total")
)
