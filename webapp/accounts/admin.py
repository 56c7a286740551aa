"""Register users and budgets in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest

from webapp.accounts import services
from webapp.accounts.forms import UserForm
from webapp.accounts.models import Budget, User


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    """Users, with actions to set their role. Clearing “active” suspends a user within seconds."""

    list_display = ("username", "email", "role", "is_active", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    filter_horizontal = ()
    readonly_fields = ("last_login", "date_joined")
    form = UserForm
    actions = ("make_user", "make_manager", "make_administrator")
    fieldsets = (*(DjangoUserAdmin.fieldsets or ()), ("Chat", {"fields": ("system_prompt",)}))

    @admin.action(description="Make ordinary users", permissions=["change"])
    def make_user(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Give the selected accounts the role of a user."""
        self._set_role(request, queryset, "user")

    @admin.action(description="Make managers (backends, routes, budgets)", permissions=["change"])
    def make_manager(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Give the selected accounts the role of a manager."""
        self._set_role(request, queryset, "manager")

    @admin.action(description="Make administrators", permissions=["change"])
    def make_administrator(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Give the selected accounts the role of an administrator."""
        self._set_role(request, queryset, "administrator")

    def _set_role(self, request: HttpRequest, queryset: QuerySet[User], role: str) -> None:
        if not (isinstance(request.user, User) and request.user.is_superuser):
            self.message_user(request, "Only administrators can change roles.", level="error")
            return
        for user in queryset:
            try:
                services.set_role(user=user, role=role)
            except services.LastAdministrator as refusal:
                self.message_user(request, str(refusal), level="error")
            else:
                self.log_change(request, user, f"Role set to {role}.")

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Keep the last administrator."""
        return super().has_delete_permission(request, obj) and not (obj and services.is_last_administrator(obj))


@admin.register(Budget)
class BudgetAdmin(admin.ModelAdmin):
    """Monthly budgets, and requests and tokens per minute, of users and groups."""

    list_display = ("owner", "monthly", "requests_per_minute", "tokens_per_minute")
    list_select_related = ("user", "group")
    search_fields = ("user__username", "group__name")

    def log_addition(self, request: HttpRequest, obj: Budget, message: Any) -> LogEntry:  # noqa: ARG002 - Django's signature
        """Write the limits into the log entry."""
        return super().log_addition(request, obj, f"Set to {obj}.")

    def log_change(self, request: HttpRequest, obj: Budget, message: Any) -> LogEntry:  # noqa: ARG002 - Django's signature
        """Write the new terms into the history, not only the names of the changed fields."""
        return super().log_change(request, obj, f"Set to {obj}.")
