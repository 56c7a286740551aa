"""Show, change, share, and delete collections and their indexes."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from search import document_list, selectors, services
from search.forms import CollectionForm, ModelForm, NewCollectionForm, PasteForm
from search.models import Index
from search.ranking import projection
from search.views.documents import listing
from search.views.people import owned_collection, readable_collection, who
from webapp.patterns.errors import InputError


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
    context = {"collections": selectors.collections_with_contents(who(request)), "form": form}
    return render(request, "search/collections.html", context, status=422 if form.errors else 200)


@login_required
@require_http_methods(["GET", "POST"])
def collection(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a collection: its documents, forms to add some, its indexes, and settings."""
    shown = readable_collection(request, pk)
    mine = shown.owner_id == who(request).pk
    form = CollectionForm(who(request), owned_collection(request, pk), request.POST or None) if mine or request.method == "POST" else None
    if form and request.method == "POST" and form.is_valid():
        try:
            services.change_collection(collection=shown, **form.cleaned_data)
        except InputError as error:
            form.add_error(error.param, error.message)
        else:
            return redirect("search:collection", pk)
    context = listing(request, shown) | {
        "form": form,
        "kinds": document_list.kinds(shown),
        "tags": document_list.tags(shown),
        "paste": PasteForm(auto_id="paste_%s"),
        "model_form": ModelForm(who(request), auto_id="index_%s") if mine else None,
    }
    return render(request, "search/collection.html", context, status=422 if form and form.errors else 200)


@login_required
@require_POST
def delete_collection(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a collection with its documents."""
    doomed = owned_collection(request, pk)
    services.delete_collection(collection=doomed)
    messages.success(request, _("“%(name)s” and its documents were deleted") % {"name": doomed.name})
    return redirect("search:collections")


@login_required
@require_POST
def change_model(request: HttpRequest, pk: int) -> HttpResponse:
    """Start embedding the collection with another model."""
    changed = owned_collection(request, pk)
    form = ModelForm(who(request), request.POST)
    if form.is_valid():
        services.change_model(collection=changed, model=form.cleaned_data["model"])
    else:
        messages.error(request, _("Choose one of the listed models"))
    return redirect("search:collection", pk)


@login_required
@require_POST
def change_index(request: HttpRequest, pk: int, index_id: int) -> HttpResponse:
    """Drop an index, or continue building it."""
    index = get_object_or_404(Index, pk=index_id, collection=owned_collection(request, pk))
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
    shown = readable_collection(request, pk)
    return render(request, "search/map.html", {"collection": shown, "map": projection.draw(shown)})
