"""Users and their budgets."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser, Group
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

THEME_NAMES = {"auto": _("Auto"), "light": _("Light"), "dark": _("Dark")}
THEMES = tuple(THEME_NAMES)


class User(AbstractUser):
    """A user. Without `is_active` the user is suspended: sessions, tokens, and open sockets are refused within seconds."""

    system_prompt = models.TextField(blank=True, help_text=_("Sent with every new conversation you start."))
    chat_model = models.CharField(max_length=300, blank=True, editable=False)
    """The model that the user chose last in the chat. New conversations begin with it."""
    language = models.CharField(max_length=10, blank=True, editable=False)
    """The language of the interface, a code of `settings.LANGUAGES`; empty for the browser's."""
    session_version = models.PositiveIntegerField(default=0, editable=False)
    """Raised by "sign out everywhere": sessions of an older version are refused."""

    def get_session_auth_hash(self) -> str:
        """Return the value that ties a session to the password and to `session_version`."""
        plain = super().get_session_auth_hash()
        return salted_hmac("accounts.session", f"{plain}{self.session_version}").hexdigest() if self.session_version else plain

    @property
    def role(self) -> str:
        """Return `administrator` (everything), `manager` (backends, routes, budgets), or `user`."""
        if self.is_superuser:
            return "administrator"
        return "manager" if self.is_staff else "user"


class Budget(models.Model):
    """The limits of a user, or of all members of a group together: cost per calendar month (UTC), requests and tokens per minute."""

    user = models.OneToOneField(User, null=True, blank=True, on_delete=models.CASCADE, related_name="budget")
    group = models.OneToOneField(Group, null=True, blank=True, on_delete=models.CASCADE, related_name="budget")
    monthly = models.DecimalField(
        _("monthly budget"),
        max_digits=12,
        decimal_places=4,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=_("In the currency of the backends' prices. Leave empty for none."),
    )
    requests_per_minute = models.PositiveIntegerField(
        _("requests per minute"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Counts chat messages, API calls and batch rows. Leave empty for no limit, or for the server's default for users."),
    )
    tokens_per_minute = models.PositiveIntegerField(
        _("tokens per minute"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Read and written. What goes over is paid back before the next request."),
    )

    class Meta:
        verbose_name = _("budget or limit")
        verbose_name_plural = _("budgets and limits")
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=True, group__isnull=False) | Q(user__isnull=False, group__isnull=True),
                name="budget_of_a_user_or_a_group",
                violation_error_message=_("Choose a user or a group, not both."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.owner}: {self.terms}"

    def clean(self) -> None:
        """Require at least one limit."""
        if not self.terms:
            raise ValidationError(_("Set a budget, requests per minute or tokens per minute."))

    @property
    def owner(self) -> str:
        """Return the user or group as display text."""
        if self.user:
            return _("user %(name)s") % {"name": self.user.username}
        return _("group %(name)s") % {"name": self.group.name if self.group else ""}

    @property
    def terms(self) -> str:
        """Return the budget and limits as display text."""
        money = None if self.monthly is None else f"{self.monthly.normalize():f}"
        terms = (
            (money, _("%(value)s per month")),
            (self.requests_per_minute, _("%(value)s requests per minute")),
            (self.tokens_per_minute, _("%(value)s tokens per minute")),
        )
        return ", ".join(text % {"value": value} for value, text in terms if value is not None)
