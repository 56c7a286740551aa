"""Serve the live status and usage pages."""

from __future__ import annotations

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from webapp.accounts.models import User
from webapp.backends import selectors, services
from webapp.backends.config import limits, snapshot
from webapp.backends.models import Backend, Offer
from webapp.backends.reporting import status, usage
from webapp.backends.runtime import polling, registry
from webapp.backends.runtime.budgets import spending
from webapp.core import charts
from webapp.patterns.units import count


@login_required
@require_GET
def live(request: HttpRequest) -> HttpResponse:
    """Show the status to every user. The page polls the changing part every few seconds."""
    assert isinstance(request.user, User)
    known = snapshot.load()
    coolings = status.coolings()
    context = {
        "backends": status.backends(known, coolings, viewer=request.user),
        "routes": status.routes(known, coolings, viewer=request.user),
        "offers": selectors.open_offers() if request.user.has_perm("backends.add_backend") else (),
    }
    return render(request, "backends/_live.html" if request.headers.get("HX-Request") else "backends/live.html", context)


@login_required
@permission_required("backends.change_backend", raise_exception=True)
@require_POST
def check(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask a backend for its models now, and retry it with the next request regardless of its breaker."""
    backend = get_object_or_404(Backend, pk=pk)
    async_to_sync(registry.reset_breaker)(backend.name)
    up = async_to_sync(polling.look_at)(backend.pk)
    if up:
        messages.success(request, _("%(name)s answers. The next request tries it again.") % {"name": backend.name})
    else:
        messages.warning(request, _("%(name)s does not answer.") % {"name": backend.name})
    return redirect("backends:live")


@login_required
@permission_required("backends.add_backend", raise_exception=True)
@require_POST
def offer(request: HttpRequest, pk: int) -> HttpResponse:
    """Accept or dismiss a found server."""
    found = get_object_or_404(Offer, pk=pk, state=Offer.State.OPEN)
    if request.POST.get("answer") == "accept":
        try:
            backend = services.accept_offer(offer=found)
        except Offer.DoesNotExist:  # another click was first
            return redirect("backends:live")
        result = async_to_sync(services.discover)(backend)
        services.add_to_default(backend=backend)
        found_models = f"{count(result.total, 'model')} found"
        messages.success(request, f"{backend.name} is added: {result.problem or found_models}.")
    else:
        services.dismiss_offer(offer=found)
    return redirect("/chat/" if request.POST.get("next") == "chat" else "backends:live")


@login_required
@permission_required("backends.add_backend", raise_exception=True)
@require_POST
def look(request: HttpRequest) -> HttpResponse:
    """Search for servers on this machine again."""
    before = selectors.open_offers().count()
    services.look_for_servers()
    found = selectors.open_offers().count() - before
    messages.info(
        request,
        _("%(found)s more found.") % {"found": found} if found else _("No new servers found on this machine or in the environment."),
    )
    return redirect("backends:live")


@login_required
@require_GET
def usage_page(request: HttpRequest) -> HttpResponse:
    """Show tokens, cost, and latency over time: of all users for staff, otherwise the user's own."""
    assert isinstance(request.user, User)
    filters = usage.Filters.of(request.GET.dict())
    found = usage.read(filters, viewer=request.user)
    context = {
        "filters": filters,
        "periods": usage.PERIODS,
        "choices": usage.choices(viewer=request.user),
        "usage": found,
        "percentiles": [("p50", found.totals.p50), ("p95", found.totals.p95), ("p99", found.totals.p99)],
        "charts": _charts(found.buckets),
        "mine": [*spending.lines(request.user.pk), *(limit.line for limit in limits.load().of(request.user.pk))],
    }
    return render(request, "usage/usage.html", context)


def _charts(buckets: list[usage.Bucket]) -> list[charts.Chart]:
    labels = [bucket.label for bucket in buckets]
    tokens = [(bucket.prompt_tokens, bucket.completion_tokens) for bucket in buckets]
    latencies = [[bucket.p50 for bucket in buckets], [bucket.p95 for bucket in buckets]]
    drawn = [
        charts.bars("Tokens", labels, ("prompt", "completion"), tokens),
        charts.lines("Time to first token", labels, ("p50", "p95"), latencies, charts.seconds),
        charts.bars("Attempts", labels, ("answered", "failed"), [(bucket.ok, bucket.failed) for bucket in buckets]),
    ]
    if any(bucket.cost for bucket in buckets):
        drawn.append(charts.bars("Cost", labels, ("cost",), [(bucket.cost,) for bucket in buckets]))
    return drawn
