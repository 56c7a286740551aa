"""Forms for setup, sign-in, and profile."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm, BaseUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from webapp.accounts import services
from webapp.accounts.models import User


class LoginForm(AuthenticationForm):
    """Sign-in form. Its test ids are part of the contract."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].widget.attrs["data-testid"] = "login-username"
        self.fields["password"].widget.attrs["data-testid"] = "login-password"


class SetupForm(BaseUserCreationForm):
    """Form for the first administrator."""

    class Meta:
        model = User
        fields = ["username", "email"]

    def validate_password_for_user(self, user: Any, **_: Any) -> None:
        """Report problems of a password at the first password field, not at its confirmation."""
        super().validate_password_for_user(user, password_field_name="password1")  # type: ignore[misc]  # noqa: S106 - a field's name; the stubs lack it


class ProfileForm(forms.ModelForm):
    """Profile form. With single sign-on, the email address identifies the account, so only administrators can change it."""

    class Meta:
        model = User
        fields = ["first_name", "last_name", "email", "system_prompt"]
        widgets = {"system_prompt": forms.Textarea(attrs={"rows": 4})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].disabled = bool(settings.OIDC_ISSUER)


ROLES = (
    ("user", _("User: chats, batches, searches, and creates tokens")),
    ("manager", _("Manager: also configures backends, routes, tokens, and budgets")),
    ("administrator", _("Administrator: may do everything, also change users")),
)
EXTRA_RIGHTS = Q(content_type__app_label="batches", codename="follow_batch") | Q(content_type__app_label="toolservers")
"""The rights that a user or a group may have beside a role."""


def extra_rights() -> QuerySet[Permission]:
    """Return the rights that are not part of a role."""
    return Permission.objects.filter(EXTRA_RIGHTS).exclude(codename__startswith="view_").select_related("content_type")


class RightsField(forms.ModelMultipleChoiceField):
    """Rights in words, as checkboxes."""

    def __init__(self) -> None:
        super().__init__(queryset=Permission.objects.none(), required=False, widget=forms.CheckboxSelectMultiple, label=_("Extra rights"))

    def label_from_instance(self, obj: Any) -> str:
        """Return the name of a right without the name of its app."""
        return gettext(obj.name)


class UserForm(UserChangeForm):
    """User form of the admin: a role instead of single permissions. It keeps the last administrator."""

    role = forms.ChoiceField(choices=ROLES, widget=forms.RadioSelect, required=False)
    groups = forms.ModelMultipleChoiceField(
        queryset=Group.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Groups share routes, prompts, collections, and budgets."),
    )
    user_permissions = RightsField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["role"] = self.instance.role if self.instance.pk else "user"
        for name, rows in (("groups", Group.objects.exclude(name=services.MANAGERS)), ("user_permissions", extra_rights())):
            if name in self.fields:
                self.fields[name].queryset = rows  # type: ignore[attr-defined]  # both are fields of models

    def clean(self) -> dict[str, Any]:
        """Keep the last administrator active and an administrator."""
        cleaned = super().clean() or {}
        keeps = cleaned.get("is_active", True) and cleaned.get("role") in {"administrator", "", None}
        if not keeps and services.is_last_administrator(self.instance):
            raise forms.ValidationError(str(services.LastAdministrator(self.instance)))
        return cleaned


class GroupForm(forms.ModelForm):
    """Group form of the admin: the name and the extra rights of its members."""

    permissions = RightsField()

    class Meta:
        model = Group
        fields = ["name", "permissions"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["permissions"].queryset = extra_rights()  # type: ignore[attr-defined]  # a field of models
