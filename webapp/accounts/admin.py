"""Register users and budgets in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from webapp.accounts import services
from webapp.accounts.forms import GroupForm, UserForm
from webapp.accounts.models import Budget, User


class RoleFilter(admin.SimpleListFilter):
    """Users by role."""

    title, parameter_name = _("role"), "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        """Return the roles."""
        return [("user", gettext("User")), ("manager", gettext("Manager")), ("administrator", gettext("Administrator"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:  # noqa: ARG002 - Django's signature
        """Return the users with the chosen role."""
        wanted = {
            "user": {"is_staff": False, "is_superuser": False},
            "manager": {"is_staff": True, "is_superuser": False},
            "administrator": {"is_superuser": True},
        }
        return queryset.filter(**wanted.get(self.value() or "", {}))


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    """Users, with actions to set their role. Clearing “active” suspends a user within seconds."""

    list_display = ("username", "email", "role", "is_active", "last_login")
    list_filter = ("is_active", RoleFilter, "groups")
    filter_horizontal = ()
    readonly_fields = ("last_login", "date_joined")
    form = UserForm
    actions = ("make_user", "make_manager", "make_administrator")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (_("Person"), {"fields": (("first_name", "last_name"), "email")}),
        (_("Access"), {"fields": ("is_active", "role", "groups")}),
        (_("More"), {"fields": ("user_permissions", "system_prompt", ("last_login", "date_joined")), "classes": ("collapse",)}),
    )

    def get_form(self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        """Let only administrators change roles."""
        form = super().get_form(request, obj, change=change, **kwargs)
        if "role" in form.base_fields:
            form.base_fields["role"].disabled = not (isinstance(request.user, User) and request.user.is_superuser)
        return form

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Set the role after the groups: it decides about one of them."""
        super().save_related(request, form, formsets, change)
        role = form.cleaned_data.get("role") or (form.initial.get("role") if change else "")
        if role and isinstance(request.user, User) and request.user.is_superuser:
            services.set_role(user=form.instance, role=role)

    @admin.action(description=_("Make ordinary users"), permissions=["change"])
    def make_user(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Give the selected accounts the role of a user."""
        self._set_role(request, queryset, "user")

    @admin.action(description=_("Make managers (backends, routes, budgets)"), permissions=["change"])
    def make_manager(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Give the selected accounts the role of a manager."""
        self._set_role(request, queryset, "manager")

    @admin.action(description=_("Make administrators"), permissions=["change"])
    def make_administrator(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Give the selected accounts the role of an administrator."""
        self._set_role(request, queryset, "administrator")

    def _set_role(self, request: HttpRequest, queryset: QuerySet[User], role: str) -> None:
        if not (isinstance(request.user, User) and request.user.is_superuser):
            self.message_user(request, gettext("Only administrators can change roles."), level="error")
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


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(admin.ModelAdmin):
    """Groups with their members. The group of managers belongs to a role and is not shown."""

    form = GroupForm
    list_display = ("name", "members")
    search_fields = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        """Leave out the managers."""
        rows: QuerySet[Group] = super().get_queryset(request)
        return rows.exclude(name=services.MANAGERS).annotate(member_count=Count("user"))

    @admin.display(ordering="member_count", description=_("members"))
    def members(self, group: Group) -> SafeString:
        """Return the number of members, as a link to their list."""
        address = f"{reverse('admin:accounts_user_changelist')}?groups__id__exact={group.pk}"
        return format_html('<a href="{}">{}</a>', address, getattr(group, "member_count", 0))


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
