"""Administer the models of backends on a page with search and bulk actions, because a backend may offer hundreds."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from webapp.backends.admin.forms import ModelForm
from webapp.backends.models import BackendModel
from webapp.backends.signals import bump

CAPABILITIES = {"chat": "Chat", "tools": "Tools", "vision": "Images", "json_schema": "JSON schema", "embeddings": "Embeddings"}
ANSWERS: dict[str, bool | None] = {"yes": True, "no": False, "unknown": None}


class ValueForm(ActionForm):
    """The value that an action sets, next to the list of actions."""

    value = forms.CharField(required=False, widget=forms.TextInput(attrs={"placeholder": "value", "aria-label": "Value for the action"}))


class CapabilityFilter(admin.SimpleListFilter):
    """Models that are known to have a capability."""

    title = "capability"
    parameter_name = "can"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        """Offer the capabilities."""
        return list(CAPABILITIES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[BackendModel]) -> QuerySet[BackendModel]:  # noqa: ARG002 - Django's signature
        """Return the models that have the chosen capability."""
        return queryset.filter(**{f"capabilities__{self.value()}": True}) if self.value() in CAPABILITIES else queryset


def _capability_action(name: str, label: str, answer: str) -> Callable[..., None]:
    @admin.action(description=f"{label}: {answer}", permissions=["change"])
    def act(model_admin: BackendModelAdmin, request: HttpRequest, rows: QuerySet[BackendModel]) -> None:
        model_admin.set_capability(request, rows, name, ANSWERS[answer])

    act.__name__ = f"{name}_{answer}"
    return act


@admin.register(BackendModel)
class BackendModelAdmin(admin.ModelAdmin):
    """List the models of all backends, and edit their windows, prices and capabilities."""

    form = ModelForm
    fields = ["backend", "name", "context_window", ("input_price", "output_price"), ("tools", "json_schema", "embeddings")]
    list_display = ["name", "backend", "context_window", "abilities", "input_price", "output_price", "discovered"]
    list_filter = ["backend", CapabilityFilter, "discovered"]
    list_select_related = ["backend"]
    list_per_page = 100
    search_fields = ["name"]
    action_form = ValueForm
    actions = [
        "set_window",
        "set_input_price",
        "set_output_price",
        *(_capability_action(name, label, answer) for name, label in CAPABILITIES.items() for answer in ANSWERS),
    ]

    @admin.display(description="can")
    def abilities(self, row: BackendModel) -> SafeString:
        """Return the known capabilities in words."""
        known = [
            label if row.capabilities[name] else f"no {label.lower()}" for name, label in CAPABILITIES.items() if name in row.capabilities
        ]
        return format_html('<span class="small muted">{}</span>', ", ".join(known) or "unknown")

    def set_capability(self, request: HttpRequest, rows: QuerySet[BackendModel], name: str, value: bool | None) -> None:  # noqa: FBT001
        """Set a capability of models to yes, no, or unknown."""
        changed = list(rows)
        for row in changed:
            row.capabilities = {key: old for key, old in row.capabilities.items() if key != name} | ({} if value is None else {name: value})
        self._save(request, changed, "capabilities")

    @admin.action(description=gettext_lazy("Set the context window to the value (tokens)"), permissions=["change"])
    def set_window(self, request: HttpRequest, rows: QuerySet[BackendModel]) -> None:
        """Set the context window of the selected models, in tokens."""
        text = request.POST.get("value", "").replace(",", "").strip()
        if text and not (text.isdecimal() and 0 < int(text) < 2**31):
            messages.error(request, _("Write the context window as a number of tokens, or leave the value empty for unknown."))
            return
        self._set(request, rows, "context_window", int(text) if text else None)

    @admin.action(description=gettext_lazy("Set the input price to the value (per million tokens)"), permissions=["change"])
    def set_input_price(self, request: HttpRequest, rows: QuerySet[BackendModel]) -> None:
        """Set the input price of the selected models."""
        self._set_price(request, rows, "input_price")

    @admin.action(description=gettext_lazy("Set the output price to the value (per million tokens)"), permissions=["change"])
    def set_output_price(self, request: HttpRequest, rows: QuerySet[BackendModel]) -> None:
        """Set the output price of the selected models."""
        self._set_price(request, rows, "output_price")

    def _set_price(self, request: HttpRequest, rows: QuerySet[BackendModel], name: str) -> None:
        text = request.POST.get("value", "").strip()
        try:
            price = Decimal(text) if text else None
        except InvalidOperation:
            price = Decimal(-1)
        if price is not None and not (price.is_finite() and 0 <= price < 1_000_000):
            messages.error(request, _("Write the price as a number, such as 0.15, or leave the value empty for none."))
            return
        self._set(request, rows, name, price)

    def _set(self, request: HttpRequest, rows: QuerySet[BackendModel], name: str, value: Any) -> None:
        changed = list(rows)
        for row in changed:
            setattr(row, name, value)
        self._save(request, changed, name)

    def _save(self, request: HttpRequest, rows: list[BackendModel], field: str) -> None:
        BackendModel.objects.bulk_update(rows, [field], batch_size=500)
        bump()  # bulk updates send no signals
        for row in rows[:100]:
            self.log_change(request, row, f"Changed {field} with {len(rows)} models.")
        messages.success(request, f"{len(rows)} model{'' if len(rows) == 1 else 's'} changed.")
