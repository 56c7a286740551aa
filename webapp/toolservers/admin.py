"""Show the log of tool calls in the admin, read-only. The servers have pages of their own."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from webapp.backends.admin.attempts import FixedFilter
from webapp.backends.admin.keyset import KeysetChangeList, request_id
from webapp.templatetags.ui import milliseconds
from webapp.toolservers.models import ServerCall


class SourceFilter(FixedFilter):
    """By the part of the product that called."""

    title, parameter_name = _("source"), "source"
    choices_of_column = ("chat", "responses")


@admin.register(ServerCall)
class ServerCallAdmin(admin.ModelAdmin):
    """List the calls of tools: who called what, and the time it took."""

    list_display = ["when", "called", "result", "asked", "duration", "chars", "attempts"]
    list_filter = [SourceFilter, "server"]
    sortable_by = ()  # a list in another order would read the whole log
    search_fields = ["tool", "error"]
    search_help_text = _("Search by request id, tool or words of the error.")
    list_per_page = 50
    list_select_related = ["user", "server"]
    show_full_result_count = False
    actions = None
    change_list_template = "admin/backends/attempt/change_list.html"

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        """Refuse: only the product writes calls."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: ServerCall | None = None) -> bool:  # noqa: ARG002 - Django's signature
        """Refuse: calls are a log."""
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:  # noqa: ARG002 - Django's signature
        """Return the change list that pages by position."""
        return KeysetChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ServerCall], search_term: str
    ) -> tuple[QuerySet[ServerCall], bool]:
        """Return the calls of a request by its id, which an index finds, or those that contain each word."""
        if (wanted := request_id(search_term)) is not None:
            return queryset.filter(request_id=wanted), False
        return super().get_search_results(request, queryset, search_term)

    @admin.display(description=_("when"))
    def when(self, call: ServerCall) -> str:
        """Return the local time of the call."""
        return date_format(timezone.localtime(call.created_at), "M j, Y H:i:s")

    @admin.display(description=_("tool"))
    def called(self, call: ServerCall) -> SafeString:
        """Return the tool and its server."""
        return format_html('<span class="mono">{}</span><div class="small muted">{}</div>', call.tool, call.server)

    @admin.display(description=_("result"))
    def result(self, call: ServerCall) -> SafeString:
        """Return whether the call worked, and its error."""
        state, word = ("bad", _("failed")) if call.error else ("ok", _("ok"))
        return format_html('<span class="badge" data-state="{}">{}</span><div class="small muted">{}</div>', state, word, call.error)

    @admin.display(description=_("asked for"))
    def asked(self, call: ServerCall) -> str:
        """Return the user and the source."""
        return f"{call.user.get_username() if call.user else '–'} · {call.source}"

    @admin.display(description=_("duration"))
    def duration(self, call: ServerCall) -> str:
        """Return the time that the call took."""
        return milliseconds(call.ms)

    @admin.display(description=_("attempts"))
    def attempts(self, call: ServerCall) -> SafeString | str:
        """Return a link to the attempts of the same answer."""
        if call.request_id is None:
            return "–"
        return format_html('<a href="{}?q={}">{}</a>', reverse("admin:backends_attempt_changelist"), call.request_id, _("Show"))
