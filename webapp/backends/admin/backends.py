"""Backends and their models."""

from __future__ import annotations

from django.contrib import admin

from webapp.backends.admin.forms import BackendForm
from webapp.backends.models import Backend, BackendModel


class ModelInline(admin.TabularInline):
    model = BackendModel
    extra = 0
    fields = ["name", "context_window", "input_price", "output_price", "discovered"]
    readonly_fields = ["discovered"]


@admin.register(Backend)
class BackendAdmin(admin.ModelAdmin):
    form = BackendForm
    inlines = [ModelInline]
    list_display = ["name", "base_url", "preset", "enabled", "flagged", "position"]
