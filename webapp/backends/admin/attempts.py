"""Show the attempt log, with filters, read-only."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from webapp.backends.models import Attempt, UsageDay
from webapp.patterns.fallback.explanations import explain
from webapp.templatetags.ui import milliseconds

BADGES = {"ok": "ok", "partial": "warn", "cancelled": "warn", "skipped": ""}


class ErrorFilter(admin.SimpleListFilter):
    """Filter by the error classes that occur."""

    title = "error"
    parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        """Offer the error classes that occurred."""
        found = UsageDay.objects.exclude(errors={}).order_by("-day").values_list("errors", flat=True)[:2000]
        names = {error for errors in found for error in errors if error}
        return sorted(((name, explain(name).title) for name in names), key=lambda choice: choice[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Attempt]) -> QuerySet[Attempt]:  # noqa: ARG002 - Django's signature
        """Return the attempts that failed with the chosen error."""
        return queryset.filter(error=self.value()) if self.value() else queryset


class ValueFilter(admin.SimpleListFilter):
    """A filter by the value of the column `parameter_name`."""

    parameter_name: str

    def queryset(self, request: HttpRequest, queryset: QuerySet[Attempt]) -> QuerySet[Attempt]:  # noqa: ARG002 - Django's signature
        """Return the attempts with the chosen value."""
        return queryset.filter(**{self.parameter_name: self.value()}) if self.value() else queryset


class KnownFilter(ValueFilter):
    """A filter by the values that the usage sums know: the log itself may have millions of rows."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        """Return the values of the last 90 days."""
        since = timezone.now().date() - timedelta(days=90)
        found = UsageDay.objects.filter(day__gte=since).order_by().values_list(self.parameter_name, flat=True).distinct()[:200]
        return [(value, value) for value in sorted(value for value in found if value)]


class FixedFilter(ValueFilter):
    """A filter by the few values that a column can have."""

    choices_of_column: tuple[str, ...] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        """Return every value that there can be."""
        return [(value, value) for value in self.choices_of_column]


class BackendFilter(KnownFilter):
    """By backend."""

    title, parameter_name = "backend", "backend"


class RouteFilter(KnownFilter):
    """By route."""

    title, parameter_name = "route", "route"


class BoundedPaginator(Paginator):
    """Count no further than `MOST` rows: counting millions takes seconds, and page 2,000 is not useful."""

    MOST = 100_000

    @cached_property
    def count(self) -> int:
        """Return the number of rows, at most `MOST`."""
        rows: Any = self.object_list
        return int(rows.order_by()[: self.MOST].count())


class OutcomeFilter(FixedFilter):
    """By outcome."""

    title, parameter_name = "outcome", "outcome"
    choices_of_column = ("ok", "partial", "failed", "cancelled", "skipped")


class SourceFilter(FixedFilter):
    """By the part of the product that asked."""

    title, parameter_name = "source", "source"
    choices_of_column = ("chat", "gateway", "batch", "search", "test")


@admin.register(Attempt)
class AttemptAdmin(admin.ModelAdmin):
    """List the attempts: every request that went to a backend."""

    list_display = ["when", "result", "asked", "tried", "first_token", "duration", "tokens", "cost"]
    list_filter = [OutcomeFilter, BackendFilter, RouteFilter, SourceFilter, ErrorFilter, ("user", admin.RelatedFieldListFilter)]
    paginator = BoundedPaginator
    search_fields = ["request_id", "model", "route", "why"]
    search_help_text = "Search by request id, model, route or words of the reason."
    list_per_page = 50
    list_select_related = ["user"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        """Refuse: only the product writes attempts."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Attempt | None = None) -> bool:  # noqa: ARG002 - Django's signature
        """Refuse: attempts are a log."""
        return False

    @admin.display(ordering="created_at")
    def when(self, attempt: Attempt) -> str:
        """Return the local time of the attempt."""
        return date_format(timezone.localtime(attempt.created_at), "M j, Y H:i:s")

    @admin.display(description="asked for", ordering="route")
    def asked(self, attempt: Attempt) -> SafeString:
        """Return the route or model that was asked for, the user and the source."""
        who = attempt.user.get_username() if attempt.user else "–"
        return format_html('{}<div class="small muted">{} · {}</div>', attempt.route or "–", who, attempt.source)

    @admin.display(ordering="backend")
    def tried(self, attempt: Attempt) -> SafeString:
        """Return the backend and the model that were tried."""
        return format_html('{}<div class="mono small">{}</div>', attempt.backend, attempt.model)

    @admin.display(ordering="outcome")
    def result(self, attempt: Attempt) -> SafeString:
        """Return the outcome with the error and its reason."""
        badge = format_html('<span class="badge" data-state="{}">{}</span>', BADGES.get(attempt.outcome, "bad"), attempt.outcome)
        return format_html(
            '{} <span class="small">{}</span><div class="small muted">{}</div>',
            badge,
            explain(attempt.error).title if attempt.error else "",
            attempt.why,
        )

    @admin.display(description="first token", ordering="first_token_ms")
    def first_token(self, attempt: Attempt) -> str:
        """Return the time to the first token."""
        return milliseconds(attempt.first_token_ms)

    @admin.display(ordering="duration_ms")
    def duration(self, attempt: Attempt) -> str:
        """Return the time to the end of the answer."""
        return milliseconds(attempt.duration_ms)

    @admin.display(description="tokens in/out")
    def tokens(self, attempt: Attempt) -> str:
        """Return the prompt and completion tokens, marked when they are estimated."""
        return f"{'≈ ' if attempt.estimated else ''}{attempt.prompt_tokens}/{attempt.completion_tokens}"
