"""Forms for setup, sign-in, and profile."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm, BaseUserCreationForm, UserChangeForm

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


class UserForm(UserChangeForm):
    """User form of the admin. It keeps the last administrator."""

    def clean(self) -> dict[str, Any]:
        """Keep the last administrator active and an administrator."""
        cleaned = super().clean() or {}
        keeps = cleaned.get("is_active", True) and cleaned.get("is_superuser", True)
        if not keeps and services.is_last_administrator(self.instance):
            raise forms.ValidationError(str(services.LastAdministrator(self.instance)))
        return cleaned
