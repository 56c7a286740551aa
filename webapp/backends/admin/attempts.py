"""The attempt log: read, filtered, never changed."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from webapp.backends.models import Attempt
from webapp.templatetags.ui import milliseconds


@admin.register(Attempt)
class AttemptAdmin(admin.ModelAdmin):
    list_display = [
        "created_at",
        "source",
        "who",
        "route",
        "backend",
        "model",
        "outcome",
        "error",
        "first_token",
        "duration",
        "tokens",
        "why",
    ]
    list_filter = ["outcome", "backend", "source", "error", ("user", admin.RelatedOnlyFieldListFilter)]
    search_fields = ["request_id", "model", "route", "why"]
    search_help_text = "A request id, a model, a route, or words of the reason."
    date_hierarchy = "created_at"
    list_per_page = 50
    list_select_related = ["user"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        return False

    def has_change_permission(self, request: HttpRequest, obj: Attempt | None = None) -> bool:  # noqa: ARG002 - Django's signature
        return False

    @admin.display(description="user", ordering="user")
    def who(self, attempt: Attempt) -> str:
        return attempt.user.get_username() if attempt.user else "–"

    @admin.display(description="first token", ordering="first_token_ms")
    def first_token(self, attempt: Attempt) -> str:
        return milliseconds(attempt.first_token_ms)

    @admin.display(ordering="duration_ms")
    def duration(self, attempt: Attempt) -> str:
        return milliseconds(attempt.duration_ms)

    @admin.display(description="tokens in/out")
    def tokens(self, attempt: Attempt) -> str:
        return f"{attempt.prompt_tokens}/{attempt.completion_tokens}"
