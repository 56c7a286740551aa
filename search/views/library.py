"""Show, add, share, and delete collections and documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest
from django.core.files.uploadedfile import UploadedFile
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from search import selectors, services
from search.forms import CollectionForm, ModelForm, NewCollectionForm, PasteForm
from search.models import DEFAULT_MODEL, Collection, Document, Index
from search.parsing import ocr
from search.ranking import passages, projection
from search.views.people import who
from webapp.patterns.errors import InputError

DOCUMENTS_A_PAGE = 100
NAMED = 5
"""Files that a message names. Beyond that it gives the number."""


def _owned(request: HttpRequest, pk: int) -> Collection:
    return get_object_or_404(Collection, pk=pk, owner=who(request))


def _readable(request: HttpRequest, pk: int) -> Collection:
    return get_object_or_404(selectors.collections(who(request)).select_related("serving", "owner"), pk=pk)


@login_required
@require_http_methods(["GET", "POST"])
def collections(request: HttpRequest) -> HttpResponse:
    """Show all collections, and a form for a new one."""
    form = NewCollectionForm(who(request), request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = services.create_collection(owner=who(request), **form.cleaned_data)
        except InputError as error:
            form.add_error(error.param, error.message)
        else:
            return redirect("search:collection", made.pk)
    context = {"collections": selectors.collections_with_counts(who(request)), "form": form}
    return render(request, "search/collections.html", context, status=422 if form.errors else 200)


@login_required
@require_http_methods(["GET", "POST"])
def collection(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a collection: its documents, forms to add some, its indexes, and settings."""
    shown = _readable(request, pk)
    mine = shown.owner_id == who(request).pk
    form = CollectionForm(who(request), _owned(request, pk), request.POST or None) if mine or request.method == "POST" else None
    if form and request.method == "POST" and form.is_valid():
        try:
            services.change_collection(collection=shown, **form.cleaned_data)
        except InputError as error:
            form.add_error(error.param, error.message)
        else:
            return redirect("search:collection", pk)
    context = _listing(request, shown) | {
        "form": form,
        "paste": PasteForm(auto_id="paste_%s"),
        "model_form": ModelForm(who(request), auto_id="index_%s") if mine else None,
    }
    return render(request, "search/collection.html", context, status=422 if form and form.errors else 200)


def _listing(request: HttpRequest, shown: Collection) -> dict[str, Any]:
    found = shown.documents.defer("text")
    page = Paginator(found, DOCUMENTS_A_PAGE).get_page(request.GET.get("page"))
    mine = shown.owner_id == who(request).pk
    building = shown.indexes.filter(state=Index.State.BUILDING).exists()
    return {
        "collection": shown,
        "page": page,
        "under_way": building or found.filter(Q(state__in=Document.UNDER_WAY) | Q(to_describe=True)).exists(),
        "mine": mine,
        "indexes": selectors.index_states(shown) if mine else [],
        "better_model": DEFAULT_MODEL if mine and selectors.offers_better_model(shown) else "",
    }


@login_required
@require_GET
def documents(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the documents and the state of the indexes. The page polls this while work is running."""
    return render(request, "search/_documents.html", _listing(request, _readable(request, pk)) | {"fetched": True})


@login_required
@require_POST
def upload(request: HttpRequest, pk: int) -> HttpResponse:
    """Add files. Each is queued, reported as already present, or refused with the reason."""
    into = _owned(request, pk)
    files = request.FILES.getlist("files")
    existed = []
    for file, name in zip(files, _names(request.POST.get("paths", ""), files), strict=True):
        try:
            added = services.add_file(collection=into, name=name, content=file.chunks())
        except InputError as error:
            messages.error(request, f"{services.clean_name(name)}: {error.message}")
        else:
            existed += [added.document.name] if added.existed else []
    if existed:
        more = f" and {len(existed) - NAMED} more" if len(existed) > NAMED else ""
        messages.info(request, f"Already in this collection: {', '.join(existed[:NAMED])}{more}")
    return _after_adding(request, into)


def _names(paths: str, files: Sequence[UploadedFile[Any]]) -> list[str]:
    """Return the files' paths in their folder from the JSON list of folder-upload.js; their own names without a valid list."""
    try:
        given = json.loads(paths)
    except (ValueError, RecursionError):
        given = None
    if isinstance(given, list) and len(given) == len(files) and all(isinstance(path, str) for path in given):
        return given
    return [file.name or "" for file in files]


@login_required
@require_POST
def paste(request: HttpRequest, pk: int) -> HttpResponse:
    """Add a text."""
    into = _owned(request, pk)
    form = PasteForm(request.POST)
    if form.is_valid():
        added = services.add_text(collection=into, **form.cleaned_data)
        if added.existed:
            messages.info(request, f"This text is already in the collection as {added.document.name}")
    else:
        messages.error(request, "Enter a text of up to two million characters")
    return _after_adding(request, into)


def _after_adding(request: HttpRequest, into: Collection) -> HttpResponse:
    if request.headers.get("HX-Request-Type") == "partial":
        return render(request, "search/_documents.html", _listing(request, into) | {"fresh": True, "fetched": True})
    return redirect("search:collection", into.pk)


@login_required
@require_POST
def delete_collection(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a collection with its documents."""
    doomed = _owned(request, pk)
    services.delete_collection(collection=doomed)
    messages.success(request, f"“{doomed.name}” and its documents were deleted")
    return redirect("search:collections")


@login_required
@require_POST
def change_model(request: HttpRequest, pk: int) -> HttpResponse:
    """Start embedding the collection with another model."""
    changed = _owned(request, pk)
    form = ModelForm(who(request), request.POST)
    if form.is_valid():
        services.change_model(collection=changed, model=form.cleaned_data["model"])
    else:
        messages.error(request, "Choose one of the listed models")
    return redirect("search:collection", pk)


@login_required
@require_POST
def change_index(request: HttpRequest, pk: int, index_id: int) -> HttpResponse:
    """Drop an index, or continue building it."""
    index = get_object_or_404(Index, pk=index_id, collection=_owned(request, pk))
    try:
        match request.POST.get("do"):
            case "drop":
                services.drop_index(index=index)
            case "build":
                services.build_again(index=index)
            case _:
                raise BadRequest("`do` is drop or build")
    except InputError as error:
        messages.error(request, error.message)
    return redirect("search:collection", pk)


@login_required
@require_GET
def collection_map(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the collection's passages in a plane. Passages with similar meaning are near each other."""
    shown = _readable(request, pk)
    return render(request, "search/map.html", {"collection": shown, "map": projection.draw(shown)})


@login_required
@require_GET
def document(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show a document, opened at a passage if the address names one."""
    found = get_object_or_404(selectors.documents(who(request)).defer(None), pk=pk)
    shown = passages.show(found, request.GET.get("passage", ""), request.GET.get("from", ""))
    mine = found.collection.owner_id == who(request).pk
    context = {"document": found, "shown": shown, "mine": mine, "ocr": ocr.is_installed()}
    return render(request, "search/document.html", context)


@login_required
@require_GET
def original(request: HttpRequest, pk: UUID) -> FileResponse:
    """Return the uploaded file, always as a download."""
    found = get_object_or_404(selectors.documents(who(request)), pk=pk)
    try:
        file = services.file_path(found.pk).open("rb")
    except FileNotFoundError:
        raise Http404("the file is gone") from None
    return FileResponse(file, as_attachment=True, filename=found.name, content_type="application/octet-stream")


@login_required
@require_POST
def change_document(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Delete a document, try a failed one again, read its pictures by OCR, or have a summary written."""
    found = get_object_or_404(selectors.documents(who(request)), pk=pk, collection__owner=who(request))
    match request.POST.get("do"):
        case "retry":
            services.retry_document(document=found)
        case "describe":
            services.describe_documents(documents=Document.objects.filter(pk=found.pk))
            return redirect("search:document", found.pk)
        case "recognize":
            services.recognize_document(document=found)
            return redirect("search:document", found.pk)
        case "delete":
            services.delete_document(document=found)
        case _:
            raise BadRequest("`do` is retry, describe, recognize or delete")
    return _after_adding(request, found.collection)
