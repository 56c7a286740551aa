"""Show, add, read, and remove the sources that a collection follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from search.models import Collection, Source, SourceItem
from search.sources import items, schedule, web
from search.sources.markup import clean_address
from search.views.people import owned_collection
from webapp.patterns.errors import InputError

MAX_LISTED = 500
"""Pages of one list."""
SHOWN_FAILURES = 20
INTERVALS = {60: "Every hour", 360: "Every 6 hours", 1440: "Every day", 10080: "Every week"}


class SourceForm(forms.Form):
    """A new web source."""

    kind = forms.ChoiceField(
        label=gettext_lazy("Kind"), choices=[(Source.Kind.PAGES.value, "A list of pages"), (Source.Kind.SITEMAP.value, "A sitemap")]
    )
    addresses = forms.CharField(
        label=gettext_lazy("Addresses"),
        widget=forms.Textarea(attrs={"rows": 4, "placeholder": "https://example.com/handbook/", "spellcheck": "false"}),
        max_length=200_000,
        help_text=gettext_lazy("One a line. For a sitemap, its address alone."),
    )
    depth = forms.IntegerField(
        label=gettext_lazy("Follow links"),
        min_value=0,
        max_value=web.MAX_DEPTH,
        initial=0,
        help_text=gettext_lazy("How many links from a listed page. 0 reads the listed pages alone."),
    )
    max_pages = forms.IntegerField(label=gettext_lazy("Page limit"), min_value=1, max_value=web.MAX_PAGES, initial=200)
    every_minutes = forms.TypedChoiceField(label=gettext_lazy("Read again"), choices=list(INTERVALS.items()), coerce=int, initial=1440)

    def clean_addresses(self) -> list[str]:
        """Return the addresses, each once."""
        lines = [line.strip() for line in self.cleaned_data["addresses"].splitlines() if line.strip()]
        wrong = next((line for line in lines if not clean_address(line)), None)
        if wrong is not None:
            raise forms.ValidationError(
                _("%(wrong)s is not an address that begins with http:// or https://") % {"wrong": f"{wrong[:100]!r}"}
            )
        if len(lines) > MAX_LISTED:
            raise forms.ValidationError(_("A list has up to %(MAX_LISTED)s addresses. Use a sitemap") % {"MAX_LISTED": MAX_LISTED})
        return list(dict.fromkeys(clean_address(line) for line in lines))

    def clean(self) -> None:
        """Check that a sitemap is one address."""
        if self.cleaned_data.get("kind") == Source.Kind.SITEMAP and len(self.cleaned_data.get("addresses") or ()) > 1:
            self.add_error("addresses", "Enter the address of one sitemap")


@login_required
@require_http_methods(["GET", "POST"])
def sources(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the sources of a collection with their last reads, and a form for a new one."""
    collection = owned_collection(request, pk)
    form = SourceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            items.create_web_source(collection=collection, **form.cleaned_data)
        except InputError as error:
            form.add_error("addresses", error.message)
        else:
            messages.success(request, _("The pages are being read"))
            return redirect("search:sources", pk)
    context = {"collection": collection, "form": form, "sources": _shown(collection)}
    return render(request, "search/sources.html", context, status=422 if form.errors else 200)


@dataclass(frozen=True, slots=True)
class ShownSource:
    """A source with its numbers, how often it is read, and the first failures of its items. `more`: addresses after the first."""

    source: Source
    documents: int
    failed: int
    interval: str
    more: int
    failures: Sequence[SourceItem]


def _shown(collection: Collection) -> list[ShownSource]:
    failed = Q(items__why__gt="")
    counted = collection.sources.annotate(documents=Count("items__document"), failed=Count("items", filter=failed))
    return [
        ShownSource(
            source,
            source.documents,
            source.failed,
            INTERVALS.get(source.every_minutes, f"Every {source.every_minutes} minutes").lower(),
            source.address.count("\n"),
            list(source.items.exclude(why="")[:SHOWN_FAILURES]) if source.failed else [],
        )
        for source in counted
    ]


@login_required
@require_POST
def change_source(request: HttpRequest, pk: int, source_id: int) -> HttpResponse:
    """Read a source now, show its failures, or stop following it."""
    source = get_object_or_404(Source, pk=source_id, collection=owned_collection(request, pk))
    match request.POST.get("do"):
        case "read":
            schedule.read_soon(source=source)
            messages.success(request, _("The pages are being read"))
        case "stop":
            items.delete_source(source=source, keep_documents=True)
            messages.success(request, _("The source is no longer followed. Its documents stay"))
        case "delete":
            items.delete_source(source=source, keep_documents=False)
            messages.success(request, _("The source and its documents were deleted"))
        case _:
            raise BadRequest("`do` is read, stop or delete")
    return redirect("search:sources", pk)
