"""Adapt the Django admin: Patchbay's tabs and sign-in."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse

TABS = (
    ("Backends", "backends", "backend"),
    ("Routes", "backends", "route"),
    ("Attempts", "backends", "attempt"),
    ("Benchmarks", "backends", "benchmarkrun"),
    ("Tokens", "backends", "apitoken"),
    ("Users", "accounts", "user"),
    ("Budgets", "accounts", "budget"),
    ("Groups", "auth", "group"),
)
"""(name, app, model). A tab is shown if its model is registered and the user may view it."""


class PatchbayAdminSite(AdminSite):
    """Show the admin site inside the product's own pages."""

    site_header = "Patchbay"
    site_title = "Patchbay"
    index_title = "Configuration"
    site_url = "/"
    enable_nav_sidebar = False

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Add the tabs of the configuration pages."""
        return {**super().each_context(request), "admin_tabs": list(self._tabs(request))}

    def _tabs(self, request: HttpRequest) -> list[dict[str, Any]]:
        shown = [(name, f"admin:{app}_{model}_changelist", f"{app}.view_{model}") for name, app, model in TABS]
        found = [(name, _address(view)) for name, view, permission in shown if request.user.has_perm(permission)]
        return [{"name": name, "url": url, "current": request.path.startswith(url)} for name, url in found if url]

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:  # noqa: ARG002 - Django's signature
        """Redirect to Patchbay's own sign-in, which is throttled."""
        if request.user.is_authenticated:
            raise PermissionDenied
        from django.contrib.auth.views import redirect_to_login  # models: they are loaded after this module

        return redirect_to_login(request.GET.get("next") or reverse("admin:index"))


def _address(view: str) -> str:
    try:
        return reverse(view)
    except NoReverseMatch:
        return ""


class PatchbayAdminConfig(AdminConfig):
    """Use `PatchbayAdminSite` as the admin site."""

    default_site = "webapp.admin.PatchbayAdminSite"
