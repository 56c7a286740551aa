"""People who sign in."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser, Group
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

THEMES = ("auto", "light", "dark")


class User(AbstractUser):
    """A person. `is_active` off means suspended: sessions, tokens and open sockets are refused within seconds."""

    system_prompt = models.TextField(blank=True, help_text="Goes before every new conversation of this user.")

    @property
    def role(self) -> str:
        """`administrator` (everything), `manager` (backends, routes, budgets) or `user`."""
        if self.is_superuser:
            return "administrator"
        return "manager" if self.is_staff else "user"


class Budget(models.Model):
    """What a user, or all members of a group together, may spend in a calendar month (UTC)."""

    user = models.OneToOneField(User, null=True, blank=True, on_delete=models.CASCADE, related_name="budget")
    group = models.OneToOneField(Group, null=True, blank=True, on_delete=models.CASCADE, related_name="budget")
    monthly = models.DecimalField(
        max_digits=12, decimal_places=4, validators=[MinValueValidator(0)], help_text="In the currency of the backends' prices."
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=True, group__isnull=False) | Q(user__isnull=False, group__isnull=True),
                name="budget_of_a_user_or_a_group",
                violation_error_message="Choose a user or a group, not both.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.owner}: {self.monthly.normalize():f} a month"

    @property
    def owner(self) -> str:
        """For people: whose budget it is."""
        return f"user {self.user.username}" if self.user else f"group {self.group.name if self.group else ''}"
