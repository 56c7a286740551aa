"""Show the page of a new batch: three kinds of input, the check of a file, and the preview of a template."""

from __future__ import annotations

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
from batches.models import Batch
from batches.views.monitor import user_of
from webapp.accounts.models import User
from webapp.backends.runtime import registry
from webapp.patterns.errors import InputError, PatternError

SOURCES = [("jsonl", "JSONL file"), ("table", "Table and template"), ("lines", "Pasted lines")]
SHOWN_ERRORS = 100
SHOWN_REQUESTS = 3
Form = JsonlForm | TableForm | LinesForm


def _models(user: User) -> list[tuple[str, str]]:
    return [(offer.name, offer.name) for offer in async_to_sync(registry.offered)(user)]


def _form(source: str, user: User, *bound: Any) -> Form:
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
    form = _form(source, user, request.POST, request.FILES) if request.method == "POST" else _form(source, user)
    if form.is_bound and form.is_valid():
        try:
            return redirect("batches:detail", batch_id=_create(user, form).pk)
        except InputError as error:
            form.add_error(error.param if error.param in form.fields else None, error.message)
        except PatternError as error:
            form.add_error(None, error.message)
    context = {"form": form, "source": source, "sources": SOURCES, "webhook_secret": webhooks.secret(user)}
    return render(request, "batches/new.html", context, status=400 if form.is_bound else 200)


def _create(user: User, form: Form) -> Batch:
    if isinstance(form, JsonlForm):
        return _from_jsonl(user, form)
    rows, name = _rows(form)
    return create.from_rows(user=user, rows=rows, name=name, prompting=form.prompting(), options=form.options())


def _from_jsonl(user: User, form: JsonlForm) -> Batch:
    upload, file_id = form.cleaned_data["file"], form.cleaned_data["file_id"]
    file = create.store_upload(user=user, upload=upload) if upload else selectors.files_of(user).filter(pk=file_id).first()
    if file is None:
        raise InputError("The uploaded file is no longer available. Choose it again.", param="file")
    return create.from_file(user=user, file=file, options=form.options())


def _rows(form: TableForm | LinesForm) -> tuple[Any, str]:
    if isinstance(form, LinesForm):
        return tables.lines(form.cleaned_data["lines"]), "pasted lines.jsonl"
    upload: UploadedFile[Any] = form.cleaned_data["file"]
    name = files.clean_name(upload.name or "table")
    return tables.read(cast("BinaryIO", upload.file), name), f"{name}.jsonl"


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
    form = _form(source, user_of(request), request.POST, request.FILES)
    assert isinstance(form, PromptForm)
    if not form.is_valid():
        return render(request, "batches/_preview.html", {"waiting": True})
    try:
        rows, _ = _rows(form)
        found = tables.survey(rows, form.prompting())
        plan = _forecast(found, form, user_of(request)) if found.rows else None
    except PatternError as error:
        return render(request, "batches/_preview.html", {"problem": error.message})
    made = [(custom_id, pretty(body)) for custom_id, body in found.sample[:SHOWN_REQUESTS]]
    context = {"made": made, "plan": plan, "model": form.cleaned_data["model"], "endpoint": form.cleaned_data["endpoint"]}
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
