"""Serve usage as CSV, with the filters of the usage page."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from webapp.accounts.models import User
from webapp.backends.reporting import usage, usage_export


@login_required
@require_GET
def export(request: HttpRequest) -> HttpResponse:
    """Download usage by day, person, route, backend, model, and source; with `by=token`, by day and API token."""
    assert isinstance(request.user, User)
    filters = usage.Filters.of(request.GET.dict())
    by_token = request.GET.get("by") == "token"
    lines = (usage_export.by_token if by_token else usage_export.by_combination)(filters, viewer=request.user)
    response = HttpResponse("\ufeff" + "".join(lines), content_type="text/csv; charset=utf-8")
    name = f"usage-by-token-{filters.period}.csv" if by_token else f"usage-{filters.period}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
