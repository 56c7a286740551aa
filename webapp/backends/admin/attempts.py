"""Show the attempt log, with filters, read-only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

from webapp.backends.models import Attempt
from webapp.templatetags.ui import milliseconds

BADGES = {"ok": "ok", "partial": "warn", "cancelled": "warn", "skipped": ""}


class ErrorFilter(admin.SimpleListFilter):
    """Filter by the error classes that occur."""

    title = "error"
    parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        found = Attempt.objects.exclude(error="").order_by("error").values_list("error", flat=True).distinct()
        return [(name, name) for name in found]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Attempt]) -> QuerySet[Attempt]:  # noqa: ARG002 - Django's signature
        return queryset.filter(error=self.value()) if self.value() else queryset


@admin.register(Attempt)
class AttemptAdmin(admin.ModelAdmin):
    list_display = ["when", "result", "asked", "tried", "first_token", "duration", "tokens", "cost"]
    list_filter = ["outcome", "backend", "route", "source", ErrorFilter, ("user", admin.RelatedOnlyFieldListFilter)]
    search_fields = ["request_id", "model", "route", "why"]
    search_help_text = "Search by request id, model, route or words of the reason."
    date_hierarchy = "created_at"
    list_per_page = 50
    list_select_related = ["user"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        return False

    def has_change_permission(self, request: HttpRequest, obj: Attempt | None = None) -> bool:  # noqa: ARG002 - Django's signature
        return False

    @admin.display(ordering="created_at")
    def when(self, attempt: Attempt) -> str:
        return date_format(timezone.localtime(attempt.created_at), "M j, Y H:i:s")

    @admin.display(description="asked for", ordering="route")
    def asked(self, attempt: Attempt) -> SafeString:
        who = attempt.user.get_username() if attempt.user else "–"
        return format_html('{}<div class="small muted">{} · {}</div>', attempt.route or "–", who, attempt.source)

    @admin.display(ordering="backend")
    def tried(self, attempt: Attempt) -> SafeString:
        return format_html('{}<div class="mono small">{}</div>', attempt.backend, attempt.model)

    @admin.display(ordering="outcome")
    def result(self, attempt: Attempt) -> SafeString:
        badge = format_html('<span class="badge" data-state="{}">{}</span>', BADGES.get(attempt.outcome, "bad"), attempt.outcome)
        return format_html('{} <span class="small">{}</span><div class="small muted">{}</div>', badge, attempt.error, attempt.why)

    @admin.display(description="first token", ordering="first_token_ms")
    def first_token(self, attempt: Attempt) -> str:
        return milliseconds(attempt.first_token_ms)

    @admin.display(ordering="duration_ms")
    def duration(self, attempt: Attempt) -> str:
        return milliseconds(attempt.duration_ms)

    @admin.display(description="tokens in/out")
    def tokens(self, attempt: Attempt) -> str:
        return f"{'≈ ' if attempt.estimated else ''}{attempt.prompt_tokens}/{attempt.completion_tokens}"
