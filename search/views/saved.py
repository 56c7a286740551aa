"""Save, list, rename, and delete searches."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from search.models import SavedSearch
from search.saved_searches import rename_search, save_search
from search.views import pages
from search.views.people import who
from webapp.patterns.errors import InputError


@login_required
@require_http_methods(["GET", "POST"])
def saved_searches(request: HttpRequest) -> HttpResponse:
    """List the saved searches, or save the search that the address of the form holds."""
    if request.method == "GET":
        return render(request, "search/saved.html", {"saved": SavedSearch.objects.filter(user=who(request))})
    address = pages.address_of(request)
    if not address:
        raise BadRequest("search first, then save")
    try:
        kept = save_search(user=who(request), name=request.POST.get("name", ""), address=address)
    except InputError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, _("Saved as “%(name)s”") % {"name": kept.name})
    return redirect(reverse("search:search") + address)


@login_required
@require_POST
def change_saved(request: HttpRequest, pk: int) -> HttpResponse:
    """Rename or delete a saved search."""
    kept = get_object_or_404(SavedSearch, pk=pk, user=who(request))
    match request.POST.get("do"):
        case "rename":
            try:
                rename_search(saved=kept, name=request.POST.get("name", ""))
            except InputError as error:
                messages.error(request, error.message)
        case "delete":
            kept.delete()
        case _:
            raise BadRequest("`do` is rename or delete")
    return redirect("search:saved")
