"""Show the attempt log, with filters, read-only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from webapp.accounts.models import User
from webapp.backends.admin.keyset import KeysetChangeList, request_id
from webapp.backends.models import Attempt, UsageSum
from webapp.patterns.fallback.explanations import explain
from webapp.templatetags.ui import milliseconds

MAX_USERS = 30
BADGES = {"ok": "ok", "partial": "warn", "cancelled": "warn", "skipped": ""}


def known_sums(grouping: UsageSum.Grouping) -> QuerySet[UsageSum]:
    """Return the sums of the last 90 days."""
    since = timezone.now() - timedelta(days=90)
    return UsageSum.objects.of(grouping, hourly=False, since=since).order_by()


def offered(request: HttpRequest, parameter: str, values: Iterable[str]) -> list[tuple[str, str]]:
    """Return values as choices. The chosen one is among them even if no sum has it: Django ignores a filter without choices."""
    return [(value, value) for value in sorted({*values, request.GET.get(parameter, "")} - {""})]


class ErrorFilter(admin.SimpleListFilter):
    """Filter by the error classes that occur."""

    title = "error"
    parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        """Return the classes that the sums of each backend name, in words."""
        found = known_sums(UsageSum.Grouping.BACKEND).filter(failed__gt=0).values_list("errors", flat=True)[:2000]
        names = offered(request, self.parameter_name, (error for errors in found for error in errors))
        return [(name, explain(name).title) for name, _label in names]

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

    grouping = UsageSum.Grouping.COMBINATION

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        """Return the values of the last 90 days."""
        found = known_sums(self.grouping).values_list(self.parameter_name, flat=True).distinct()[:200]
        return offered(request, self.parameter_name, found)


class FixedFilter(ValueFilter):
    """A filter by the few values that a column can have."""

    choices_of_column: tuple[str, ...] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        """Return every value that there can be."""
        return [(value, value) for value in self.choices_of_column]


class BackendFilter(KnownFilter):
    """By backend."""

    title, parameter_name = "backend", "backend"
    grouping = UsageSum.Grouping.BACKEND


class RouteFilter(KnownFilter):
    """By route."""

    title, parameter_name = "route", "route"


class UserFilter(admin.SimpleListFilter):
    """By user: the first ones with attempts, and the chosen one (`?user=NAME`)."""

    title, parameter_name = "user", "user"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        """Return names, found by a look into an index for each user."""
        sums = known_sums(UsageSum.Grouping.USER).filter(user=OuterRef("pk"))
        names = User.objects.filter(Exists(sums)).order_by("username").values_list("username", flat=True)[:MAX_USERS]
        return offered(request, self.parameter_name, names)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Attempt]) -> QuerySet[Attempt]:  # noqa: ARG002 - Django's signature
        """Return the attempts of the chosen user."""
        return queryset.filter(user__username=self.value()) if self.value() else queryset


class OutcomeFilter(FixedFilter):
    """By outcome."""

    title, parameter_name = "outcome", "outcome"
    choices_of_column = ("ok", "partial", "failed", "cancelled", "skipped")


class SourceFilter(FixedFilter):
    """By the part of the product that asked."""

    title, parameter_name = "source", "source"
    choices_of_column = ("chat", "gateway", "batch", "search", "mirror", "test")


@admin.register(Attempt)
class AttemptAdmin(admin.ModelAdmin):
    """List the attempts: every request that went to a backend."""

    list_display = ["when", "result", "asked", "tried", "first_token", "duration", "tokens", "cost"]
    list_filter = [OutcomeFilter, BackendFilter, RouteFilter, SourceFilter, ErrorFilter, UserFilter]
    sortable_by = ()  # a list in another order would read the whole log
    search_fields = ["model", "route", "why"]
    search_help_text = "Search by request id, model, route or words of the reason."
    list_per_page = 50
    list_select_related = ["user"]
    show_full_result_count = False
    actions = None  # a log has none, and without them no boxes to select

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        """Refuse: only the product writes attempts."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Attempt | None = None) -> bool:  # noqa: ARG002 - Django's signature
        """Refuse: attempts are a log."""
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:  # noqa: ARG002 - Django's signature
        """Return the change list that pages by position."""
        return KeysetChangeList

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Attempt], search_term: str) -> tuple[QuerySet[Attempt], bool]:
        """Return the attempts of a request by its id, which an index finds, or those that contain each word."""
        if (wanted := request_id(search_term)) is not None:
            return queryset.filter(request_id=wanted), False
        return super().get_search_results(request, queryset, search_term)

    @admin.display
    def when(self, attempt: Attempt) -> str:
        """Return the local time of the attempt."""
        return date_format(timezone.localtime(attempt.created_at), "M j, Y H:i:s")

    @admin.display(description=gettext_lazy("asked for"))
    def asked(self, attempt: Attempt) -> SafeString:
        """Return the route or model that was asked for, the user and the source."""
        who = attempt.user.get_username() if attempt.user else "–"
        return format_html('{}<div class="small muted">{} · {}</div>', attempt.route or "–", who, attempt.source)

    @admin.display
    def tried(self, attempt: Attempt) -> SafeString:
        """Return the backend and the model that were tried."""
        return format_html('{}<div class="mono small">{}</div>', attempt.backend, attempt.model)

    @admin.display
    def result(self, attempt: Attempt) -> SafeString:
        """Return the outcome with the error and its reason."""
        badge = format_html('<span class="badge" data-state="{}">{}</span>', BADGES.get(attempt.outcome, "bad"), attempt.outcome)
        return format_html(
            '{} <span class="small">{}</span><div class="small muted">{}</div>',
            badge,
            explain(attempt.error).title if attempt.error else "",
            attempt.why,
        )

    @admin.display(description=gettext_lazy("first token"))
    def first_token(self, attempt: Attempt) -> str:
        """Return the time to the first token."""
        return milliseconds(attempt.first_token_ms)

    @admin.display
    def duration(self, attempt: Attempt) -> str:
        """Return the time to the end of the answer."""
        return milliseconds(attempt.duration_ms)

    @admin.display(description=gettext_lazy("tokens in/out"))
    def tokens(self, attempt: Attempt) -> str:
        """Return the prompt and completion tokens, marked when they are estimated."""
        return f"{'≈ ' if attempt.estimated else ''}{attempt.prompt_tokens}/{attempt.completion_tokens}"
