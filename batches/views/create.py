"""Show the page of a new batch: three kinds of input, the check of a file, and the preview of a template."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from asgiref.sync import async_to_sync
from django.contrib.auth.decorators import login_required
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from batches import selectors, webhooks
from batches.forms import JsonlForm, LinesForm, PromptForm, TableForm, pretty
from batches.input import create, execution_plan, files, tables
from batches.models import Batch, File
from batches.views.monitor import user_of
from webapp.accounts.models import User
from webapp.backends.runtime import registry
from webapp.patterns.errors import InputError, PatternError

SOURCES = [("jsonl", "JSONL file"), ("table", "Table and template"), ("lines", "Pasted lines")]
SHOWN_ERRORS = 100
SHOWN_REQUESTS = 3
EXAMPLE_LINE = (
    '{"custom_id": "row-1", "method": "POST", "url": "/v1/chat/completions", '
    '"body": {"model": "default", "messages": [{"role": "user", "content": "Hello"}]}}'
)
Form = JsonlForm | TableForm | LinesForm


def _models(user: User) -> list[tuple[str, str]]:
    return [(offer.name, offer.name) for offer in async_to_sync(registry.offered)(user)]


def form_of(source: str, user: User, *bound: Any) -> Form:
    """Return the form of a kind of input."""
    if source == "table":
        return TableForm(*bound, models=_models(user))
    return LinesForm(*bound, models=_models(user)) if source == "lines" else JsonlForm(*bound)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Create a batch and redirect to its page."""
    source = request.GET.get("source", "jsonl")
    source = source if source in dict(SOURCES) else "jsonl"
    user = user_of(request)
    form = form_of(source, user, request.POST, request.FILES) if request.method == "POST" else form_of(source, user)
    valid = form.is_bound and form.is_valid()
    upload = form.cleaned_data.get("file") if form.is_bound else None  # an error of the field removes it
    if valid:
        try:
            return redirect("batches:detail", batch_id=_create(user, form).pk)
        except InputError as error:
            form.add_error(error.param if error.param in form.fields else None, error.message)
        except PatternError as error:
            form.add_error(None, error.message)
    context: dict[str, Any] = {
        "form": form,
        "source": source,
        "sources": SOURCES,
        "webhook_secret": webhooks.secret(user),
        "example_line": EXAMPLE_LINE,
    }
    if form.is_bound:
        context["kept"] = _kept_file(user, form, upload)
    return render(request, "batches/new.html", context, status=400 if form.is_bound else 200)


def _kept_file(user: User, form: Form, upload: UploadedFile[Any] | None) -> File | None:
    """Keep the chosen file of a form with errors, so that it need not be chosen again; return it."""
    if isinstance(form, LinesForm):
        return None
    if isinstance(form, JsonlForm) and form.stored is not None:
        return form.stored
    if not upload:
        return _stored(user, form)
    upload.seek(0)
    return create.keep_upload(user=user, upload=upload)


def _stored(user: User, form: JsonlForm | TableForm) -> File | None:
    """Return the file that an earlier request kept; None without one."""
    file_id = form.cleaned_data.get("file_id")
    return selectors.files_of(user).filter(pk=file_id).first() if file_id else None


def _create(user: User, form: Form) -> Batch:
    if isinstance(form, JsonlForm):
        return _from_jsonl(user, form)
    with opened_rows(user, form) as (rows, name):
        batch = create.from_rows(user=user, rows=rows, name=name, prompting=form.prompting(), options=form.options())
    kept = _stored(user, form) if isinstance(form, TableForm) else None
    if kept is not None:
        files.delete(file=kept)
    return batch


def _from_jsonl(user: User, form: JsonlForm) -> Batch:
    upload = form.cleaned_data["file"]
    file = create.keep_upload(user=user, upload=upload) if upload else _stored(user, form)
    if file is None:
        raise InputError("The uploaded file is no longer available. Choose it again.", param="file")
    form.stored = file
    return create.from_file(user=user, file=file, options=form.options())


@contextmanager
def opened_rows(user: User, form: TableForm | LinesForm) -> Iterator[tuple[Iterator[tables.Row], str]]:
    """Yield the rows of a form and the name of their file, which is open until the end of the block.

    Raises:
        InputError: the kept file is gone.
    """
    if isinstance(form, LinesForm):
        yield tables.lines(form.cleaned_data["lines"]), "pasted lines.jsonl"
        return
    upload: UploadedFile[Any] | None = form.cleaned_data["file"]
    if upload:
        name = files.clean_name(upload.name or "table")
        yield tables.read(cast("BinaryIO", upload.file), name), f"{name}.jsonl"
        return
    kept = _stored(user, form)
    if kept is None:
        raise InputError("The uploaded file is no longer available. Choose it again.", param="file")
    with kept.path.open("rb") as source:
        yield tables.read(source, kept.filename), f"{kept.filename}.jsonl"


@login_required
@require_POST
def check(request: HttpRequest) -> HttpResponse:
    """Validate an uploaded file before it becomes a batch: show all errors, or counts, tokens, cost, and time."""
    upload = request.FILES.get("file")
    if not isinstance(upload, UploadedFile):
        return render(request, "batches/_check.html", {"problem": "Choose a file."})
    user = user_of(request)
    try:
        checked = create.check(user=user, upload=upload)
    except PatternError as error:
        return render(request, "batches/_check.html", {"problem": error.message})
    found = checked.found
    if found.only_too_large:
        return render(request, "batches/_check.html", {"file": checked.file, "found": found, "parts": create.parts_of(found)})
    plan, errors = async_to_sync(execution_plan.plan)(found, user=user, file=checked.file)
    every = [*found.errors, *errors]
    context = {
        "file": checked.file,
        "found": found,
        "plan": plan,
        "errors": every[:SHOWN_ERRORS],
        "error_count": found.error_count + len(errors),
    }
    return render(request, "batches/_check.html", context)


@login_required
@require_POST
def preview(request: HttpRequest) -> HttpResponse:
    """Show the first requests of a table or lines."""
    source = "lines" if request.GET.get("source") == "lines" else "table"
    form = form_of(source, user_of(request), request.POST, request.FILES)
    assert isinstance(form, TableForm | LinesForm)
    if not form.is_valid():
        return render(request, "batches/_preview.html", {"waiting": True, "problems": form.problems()})
    try:
        with opened_rows(user_of(request), form) as (rows, _name):
            found = tables.survey(rows, form.prompting())
        plan = _forecast(found, form, user_of(request)) if found.rows else None
        made = [(custom_id, pretty(form.sent_body(body))) for custom_id, body in found.sample[:SHOWN_REQUESTS]]
    except PatternError as error:
        return render(request, "batches/_preview.html", {"problems": [error.message]})
    context = {"made": made, "plan": plan, "model": form.cleaned_data["model"], "endpoint": form.cleaned_data["endpoint"]}
    context["structured"] = form.cleaned_data["schema"] is not None
    return render(request, "batches/_preview.html", context)


def _forecast(found: tables.Survey, form: PromptForm, user: User) -> execution_plan.Plan | None:
    data = form.options()
    return async_to_sync(execution_plan.forecast)(
        found,
        model=form.cleaned_data["model"],
        user=user,
        executor=data["executor"],
        concurrency=data["concurrency"],
        structured=data["schema"] is not None,
    )
