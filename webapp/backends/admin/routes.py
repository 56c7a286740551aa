"""Administer routes: the list, and who may use a route. Steps are edited in the route editor (`webapp.backends.editor`)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from webapp.backends import selectors
from webapp.backends.models import Route
from webapp.backends.reporting import status


class RouteForm(forms.ModelForm):
    """The place of a route in lists, and who may use it."""

    class Meta:
        model = Route
        fields = ["position", "restricted", "allowed_users", "allowed_groups"]
        widgets = {"allowed_users": forms.CheckboxSelectMultiple, "allowed_groups": forms.CheckboxSelectMultiple}
        help_texts = {"position": "Order among the routes in lists. Lower comes first."}


@admin.register(Route)
class RouteAdmin(admin.ModelAdmin):
    """List routes, and configure who may use them."""

    form = RouteForm
    list_display = ["editor", "description", "steps_in_words", "access", "balance_in_words", "position", "enabled"]
    list_display_links = None
    list_filter = ["enabled", "restricted", "balance"]
    search_fields = ["name", "description"]
    fieldsets = [
        (None, {"fields": ["position"]}),
        ("Who may use it", {"fields": ["restricted", "allowed_users", "allowed_groups"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Route]:
        """Load the steps with each route."""
        rows: QuerySet[Route] = super().get_queryset(request)
        return rows.prefetch_related("steps__backend")

    @admin.display(description="name", ordering="name")
    def editor(self, route: Route) -> SafeString:
        """Return the name as a link to the route editor."""
        return format_html('<a href="{}">{}</a>', reverse("backends:route", args=[route.pk]), route.name)

    @admin.display(description="steps")
    def steps_in_words(self, route: Route) -> str:
        """Return the steps, joined by arrows."""
        return " → ".join(str(step) for step in route.steps.all()) or "none yet"

    @admin.display(description="access")
    def access(self, route: Route) -> SafeString:
        """Return who may use the route, as a link to the form."""
        words = "restricted" if route.restricted else "everybody"
        return format_html('<a href="{}">{}</a>', reverse("admin:backends_route_change", args=[route.pk]), words)

    @admin.display(description=gettext_lazy("load sharing"), ordering="balance")
    def balance_in_words(self, route: Route) -> str:
        """Return how the steps share load."""
        return str(Route.Balance(route.balance).label).partition(":")[0]

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Show checkboxes without Django's help text."""
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if field:
            field.help_text = ""  # Django's help text explains holding Control, which checkboxes do not need
        return field

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> HttpResponse:  # noqa: ARG002 - Django's signature
        """Send to the route editor."""
        return redirect("backends:new_route")

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show who may use the route, and its status."""
        context = {**(extra_context or {})}
        route = self.get_object(request, object_id) if object_id else None
        if route:
            rows = {row.pk: row for row in selectors.backends_with_health()}
            context["picture"] = status.route_status(route, rows, status.coolings())
            context["subtitle"] = f"Who may use {route.name}"
        return super().changeform_view(request, object_id, form_url, context)
