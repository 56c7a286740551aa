"""Administer routes: ordered steps, users, picture, and fire drill."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms.widgets import Script
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from webapp.backends import selectors
from webapp.backends.admin.forms import LabelledRows
from webapp.backends.config import failure_simulation, snapshot
from webapp.backends.models import Backend, BackendModel, Route, RouteStep
from webapp.backends.reporting import status
from webapp.backends.runtime import cooldowns


class StepForm(forms.ModelForm):
    """Edit one step of a route."""

    class Meta:
        model = RouteStep
        fields = ["position", "backend", "model", "group", "weight", "first_token_timeout", "idle_timeout", "context_window"]
        widgets = {"model": forms.TextInput(attrs={"list": "known-models", "autocomplete": "off", "spellcheck": "false"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Let the load-sharing fields be left out: the model has defaults."""
        super().__init__(*args, **kwargs)
        self.fields["group"].required = self.fields["weight"].required = False

    def clean_group(self) -> int:
        """Return the group, the first one where none is given."""
        return self.cleaned_data.get("group") or 0

    def clean_weight(self) -> int:
        """Return the weight, an equal share where none is given."""
        return self.cleaned_data.get("weight") or 1


class StepInline(admin.TabularInline):
    """The ordered steps. The page's script moves rows by drag, buttons, or Alt and an arrow; without it, the numbers do."""

    model = RouteStep
    form = StepForm
    formset = LabelledRows
    extra = 0
    verbose_name = "step"
    verbose_name_plural = "Steps, tried in this order; steps of one group share the load"

    def get_extra(self, request: HttpRequest, obj: Route | None = None, **kwargs: Any) -> int:  # noqa: ARG002 - Django's signature
        """Offer an empty step only for a new route."""
        return 0 if obj else 1


class RouteForm(forms.ModelForm):
    """Edit a route."""

    class Meta:
        model = Route
        fields = [
            "name",
            "description",
            "enabled",
            "position",
            "balance",
            "sticky",
            "mid_stream",
            "hedge_ms",
            "restricted",
            "allowed_users",
            "allowed_groups",
        ]
        widgets = {"allowed_users": forms.CheckboxSelectMultiple, "allowed_groups": forms.CheckboxSelectMultiple}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Let the balance be left out: steps are then tried in their order."""
        super().__init__(*args, **kwargs)
        self.fields["balance"].required = False

    def clean_balance(self) -> str:
        """Return the balance, `ordered` where none is given."""
        return self.cleaned_data.get("balance") or Route.Balance.ORDERED


@admin.register(Route)
class RouteAdmin(admin.ModelAdmin):
    """Configure routes: their steps, load sharing, access and fire drills."""

    form = RouteForm
    inlines = [StepInline]
    list_display = ["name", "description", "steps_in_words", "access", "mid_stream", "position", "enabled"]
    list_filter = ["enabled", "restricted"]
    search_fields = ["name", "description"]
    fieldsets = [
        (None, {"fields": [("name", "position"), "description", "enabled"]}),
        ("Load sharing", {"fields": [("balance", "sticky")]}),
        ("Behavior", {"fields": [("mid_stream", "hedge_ms")]}),
        ("Who may use it", {"fields": ["restricted", "allowed_users", "allowed_groups"], "classes": ["collapse"]}),
    ]

    class Media:
        js = [Script("js/route-steps.js", type="module")]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Route]:
        """Load the steps with each route."""
        rows: QuerySet[Route] = super().get_queryset(request)
        return rows.prefetch_related("steps__backend")

    @admin.display(description="steps")
    def steps_in_words(self, route: Route) -> str:
        """Return the steps, joined by arrows."""
        return " → ".join(str(step) for step in route.steps.all()) or "none yet"

    @admin.display(description="access")
    def access(self, route: Route) -> str:
        """Return who may use the route."""
        return "restricted" if route.restricted else "everybody"

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Show checkboxes without Django's help text."""
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if field:
            field.help_text = ""  # Django's help text explains holding Control, which checkboxes do not need
        return field

    def get_urls(self) -> list[URLPattern]:
        """Add the address of the fire drill."""
        view = self.admin_site.admin_view(require_POST(self.drill))
        return [path("<int:pk>/drill/", view, name="backends_route_drill"), *super().get_urls()]

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show the route with the known models."""
        context = {**(extra_context or {}), "known_models": _known_models()}
        route = self.get_object(request, object_id) if object_id else None
        if route:
            rows = {row.pk: row for row in selectors.backends_with_health()}
            context["picture"] = status.route_status(route, rows, status.coolings())
            context["conditions"] = [(name, words) for name, (words, _failure) in failure_simulation.CONDITIONS.items()]
            context["drilled"] = list({step.backend_id: step.backend for step in route.steps.all()}.values())
        return super().changeform_view(request, object_id, form_url, context)

    def drill(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show how the route would behave under the posted conditions of its backends."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        route = get_object_or_404(Route, pk=pk)
        known = snapshot.load()
        conditions = {backend: request.POST.get(f"condition-{backend}", "") for backend in known.backends}
        conditions = {backend: name for backend, name in conditions.items() if name in failure_simulation.CONDITIONS}
        cooling = cooldowns.rows() if request.POST.get("cooling") else []
        plan = known.routes[route.name]
        result = async_to_sync(failure_simulation.drill)(plan, known, conditions, cooling) if plan.steps else None
        return render(request, "admin/backends/route/_drill.html", {"drill": result})


def _known_models() -> list[tuple[str, str]]:
    """Return (model, backend) pairs as suggestions for the model fields of steps."""
    rows = BackendModel.objects.select_related("backend").filter(backend__in=Backend.objects.filter(enabled=True))
    return [(row.name, row.backend.name) for row in rows.order_by("name", "backend__name")[:2000]]
