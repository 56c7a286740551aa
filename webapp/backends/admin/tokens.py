"""Show and revoke tokens of the gateway. Users create them in their profile."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from webapp.accounts.models import User
from webapp.backends import services
from webapp.backends.admin.attempts import MAX_USERS, UserFilter, offered
from webapp.backends.models import ApiToken


class TokenUserFilter(UserFilter):
    """By user: the first ones with tokens, and the chosen one."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        """Return names, found by a look into an index for each user."""
        owners = User.objects.filter(Exists(ApiToken.objects.filter(user=OuterRef("pk"))))
        return offered(request, self.parameter_name, owners.order_by("username").values_list("username", flat=True)[:MAX_USERS])


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):
    """List API tokens and revoke them."""

    list_display = ["__str__", "user", "created_at", "last_used_at", "expires_at", "revoked_at"]
    list_per_page = 50
    list_filter = [TokenUserFilter]
    list_select_related = ["user"]
    search_fields = ["label", "user__username"]
    readonly_fields = ["user", "hint", "created_at", "last_used_at", "revoked_at"]
    fields = [
        ("user", "hint"),
        "label",
        "scopes",
        "expires_at",
        ("requests_per_minute", "tokens_per_minute", "monthly_budget"),
        ("created_at", "last_used_at", "revoked_at"),
    ]
    actions = ["revoke"]

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        """Refuse: users create their tokens on their own page."""
        return False

    @admin.action(description=gettext_lazy("Revoke"), permissions=["change"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[ApiToken]) -> None:
        """Revoke the selected tokens."""
        for token in tokens:
            services.revoke_token(token=token)
        self.message_user(request, f"{len(tokens)} revoked.")
