"""List the documents of a collection, add some, and change one or many."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Q, QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from search import document_list, page_pictures, selectors, services, uploads
from search.document_list import Key, ListFilters
from search.forms import PasteForm
from search.models import DEFAULT_MODEL, Collection, Document, Index, Upload
from search.parsing import ocr
from search.parsing.document import Unreadable
from search.ranking import passages
from search.views.people import owned_collection, readable_collection, who
from webapp.accounts.models import User
from webapp.core.database import in_database
from webapp.patterns.errors import InputError
from webapp.patterns.units import count

State = Document.State


def listing(request: HttpRequest, shown: Collection) -> dict[str, Any]:
    """Return the context of the list of documents: a page of it, its filters and counts, and the running uploads."""
    filters = ListFilters.read(request.GET)
    after, before = (Key.read(request.GET.get(name, "")) for name in ("after", "before"))
    counts = filters.counts(shown)
    mine = shown.owner_id == who(request).pk
    running = uploads.progress(shown) if mine else []
    building = shown.indexes.filter(state=Index.State.BUILDING).exists()
    waiting = any(
        shown.documents.filter(condition).exists()  # an index for each
        for condition in (Q(state__in=(*Document.UNDER_WAY, State.DELETING)), Q(state=State.READY, to_describe=True))
    )
    page = document_list.read_page(filters.matching(shown), after=after, before=before)
    place = {name: str(key) for name, key in (("after", after), ("before", before)) if key}
    return {
        "collection": shown,
        "filters": filters,
        "states": _states(filters, counts),
        "total": sum(counts.values()),
        "matching": _matching(filters, counts),
        "page": page,
        "place": "&".join(filter(None, (filters.address, urlencode(place)))),
        "uploads": running,
        "deleting": shown.documents.filter(state=State.DELETING).count() if mine else 0,
        "under_way": building or waiting or any(upload.active for upload in running),
        "mine": mine,
        "indexes": selectors.index_states(shown) if mine else [],
        "better_model": DEFAULT_MODEL if mine and selectors.offers_better_model(shown) else "",
    }


def _states(filters: ListFilters, counts: dict[str, int]) -> list[dict[str, Any]]:
    """Return the choices of the filter by state, each with its number and its query string."""
    every = {"label": "All", "number": sum(counts.values()), "address": filters.with_state("").address, "chosen": not filters.state}
    choices = [
        {
            "label": label,
            "number": sum(counts.get(state, 0) for state in states),
            "address": filters.with_state(value).address,
            "chosen": filters.state == value,
        }
        for value, label, states in document_list.CHOICES
    ]
    return [every, *(choice for choice in choices if choice["number"] or choice["chosen"])]


def _matching(filters: ListFilters, counts: dict[str, int]) -> int:
    states = next((states for value, _, states in document_list.CHOICES if value == filters.state), tuple(counts))
    return sum(counts.get(state, 0) for state in states)


@login_required
@require_GET
def documents(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the documents and the state of the indexes. The page polls this while work is running."""
    shown = readable_collection(request, pk)
    context = listing(request, shown) | {"fetched": True}
    response = render(request, "search/_documents.html", context)
    response["HX-Replace-Url"] = reverse("search:collection", args=[pk]) + (f"?{context['place']}" if context["place"] else "")
    return response


@login_required
@require_POST
def upload(request: HttpRequest, pk: int) -> HttpResponse:
    """Add files. A browser that sends many in portions names the upload that the first portion started, and gets JSON."""
    into = owned_collection(request, pk)
    files = request.FILES.getlist("files")
    named = zip(_names(request.POST.get("paths", ""), files), (file.chunks() for file in files), strict=True)
    running = _upload(request, into, len(files))
    uploads.receive_files(upload=running, files=list(named))
    if request.accepts("text/html"):
        return _after_change(request, into)
    return JsonResponse({"upload": running.pk})


def _upload(request: HttpRequest, into: Collection, files: int) -> Upload:
    """Return the upload that the form names, else a new one."""
    if given := _number(request.POST.get("upload", "")):
        return get_object_or_404(Upload, pk=given, collection=into)
    return uploads.start_upload(collection=into, announced=max(files, _number(request.POST.get("announced", ""))))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _names(paths: str, files: Sequence[UploadedFile[Any]]) -> list[str]:
    """Return the files' paths in their folder from the JSON list of document-upload.js; their own names without a valid list."""
    try:
        given = json.loads(paths)
    except (ValueError, RecursionError):
        given = None
    if isinstance(given, list) and len(given) == len(files) and all(isinstance(path, str) for path in given):
        return given
    return [file.name or "" for file in files]


@login_required
@require_POST
def change_upload(request: HttpRequest, pk: int, upload_id: int) -> HttpResponse:
    """Retry what failed in an upload, or hide the upload."""
    running = get_object_or_404(Upload, pk=upload_id, collection=owned_collection(request, pk))
    match request.POST.get("do"):
        case "retry":
            uploads.retry_upload(upload=running)
        case "dismiss":
            uploads.dismiss_upload(upload=running)
        case _:
            raise BadRequest("`do` is retry or dismiss")
    return _after_change(request, running.collection)


@login_required
@require_POST
def paste(request: HttpRequest, pk: int) -> HttpResponse:
    """Add a text."""
    into = owned_collection(request, pk)
    form = PasteForm(request.POST)
    if form.is_valid():
        added = services.add_text(collection=into, **form.cleaned_data)
        if added.existed:
            messages.info(request, gettext("This text is already in the collection as %(name)s") % {"name": added.document.name})
    else:
        messages.error(request, gettext("Enter a text of up to two million characters"))
    return _after_change(request, into)


@login_required
@require_POST
def change_documents(request: HttpRequest, pk: int) -> HttpResponse:
    """Change one document of the list, the selected ones, or all that match the filters."""
    collection = owned_collection(request, pk)
    do, one = request.POST.get("do", ""), request.POST.get("one", "")
    if one:
        do, _, id_ = one.partition(":")
        chosen = _chosen(collection, [id_])
    elif request.POST.get("all"):
        chosen = ListFilters.read(request.GET).matching(collection)
    else:
        chosen = _chosen(collection, request.POST.getlist("document"))
    try:
        _change(request, do, chosen)
    except InputError as error:
        messages.error(request, error.message)
    return _after_change(request, collection)


def _chosen(collection: Collection, given: Sequence[str]) -> QuerySet[Document]:
    ids = []
    for text in given:
        try:
            ids.append(UUID(text))
        except ValueError:
            raise BadRequest("`document` is the id of a document") from None
    return document_list.present(collection).filter(pk__in=ids)


def _change(request: HttpRequest, do: str, chosen: QuerySet[Document]) -> None:
    """Make one change to these documents, and say to how many."""
    tag = request.POST.get("tag", "")
    match do:
        case "delete":
            done, verb = services.delete_documents(documents=chosen), "deleted"
        case "retry":
            done, verb = services.retry_documents(documents=chosen), "queued again"
        case "reread":
            done, verb = services.reread_documents(documents=chosen), "queued to be read again"
        case "tag":
            done, verb = services.tag_documents(documents=chosen, tag=tag), f"tagged “{services.clean_tag(tag)}”"
        case "untag":
            done, verb = services.tag_documents(documents=chosen, tag=tag, remove=True), f"no longer tagged “{services.clean_tag(tag)}”"
        case _:
            raise BadRequest("`do` is delete, retry, reread, tag or untag")
    messages.success(request, f"{count(done, 'document')} {'is' if done == 1 else 'are'} {verb}")


def _after_change(request: HttpRequest, collection: Collection) -> HttpResponse:
    if request.headers.get("HX-Request-Type") == "partial":
        return render(request, "search/_documents.html", listing(request, collection) | {"fresh": True, "fetched": True})
    return redirect("search:collection", collection.pk)


@login_required
@require_GET
def document(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show a document, opened at a passage if the address names one: a PDF page by page beside its picture, any other as one text."""
    found = get_object_or_404(selectors.documents(who(request)).defer(None), pk=pk)
    passage = request.GET.get("passage", "")
    context: dict[str, Any] = {"document": found, "mine": found.collection.owner_id == who(request).pk, "ocr": ocr.is_installed()}
    if found.pages and found.text and request.GET.get("view") != "text":
        context["page"] = context["shown"] = passages.show_page(found, passage, request.GET.get("page", ""))
    else:
        context["shown"] = passages.show(found, passage, request.GET.get("from", ""))
    return render(request, "search/document.html", context)


@login_required
@require_GET
async def page_picture(request: HttpRequest, pk: UUID, number: int) -> HttpResponse:
    """Return a page of a PDF as a picture."""
    user = await request.auser()
    assert isinstance(user, User)
    found = await in_database(selectors.documents(user).filter(pk=pk).first)
    if found is None or not 0 < number <= len(found.pages):
        raise Http404("no such page")
    try:
        path = await asyncio.to_thread(services.kept_file, found.pk)
        content = await page_pictures.picture(found.pk, path, number)
    except Unreadable as error:
        return HttpResponse(str(error), status=422, content_type="text/plain; charset=utf-8")
    return HttpResponse(content, content_type="image/png")


@login_required
@require_GET
def original(request: HttpRequest, pk: UUID) -> FileResponse:
    """Return the uploaded file, always as a download."""
    found = get_object_or_404(selectors.documents(who(request)), pk=pk)
    try:
        file = services.kept_file(found.pk).open("rb")
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
        case "reread":
            services.reread_documents(documents=Document.objects.filter(pk=found.pk))
            return redirect("search:document", found.pk)
        case "delete":
            services.delete_document(document=found)
        case _:
            raise BadRequest("`do` is retry, describe, recognize, reread or delete")
    return _after_change(request, found.collection)
