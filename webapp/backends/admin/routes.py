"""Routes and their steps."""

from __future__ import annotations

from django.contrib import admin

from webapp.backends.models import Route, RouteStep


class StepInline(admin.TabularInline):
    model = RouteStep
    extra = 0
    fields = ["position", "backend", "model", "first_token_timeout", "idle_timeout", "context_window"]


@admin.register(Route)
class RouteAdmin(admin.ModelAdmin):
    inlines = [StepInline]
    list_display = ["name", "description", "enabled", "mid_stream", "position"]
