"""People who sign in."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models

THEMES = ("auto", "light", "dark")


class User(AbstractUser):
    """A person. `is_active` off means suspended: sessions, tokens and open sockets are refused within seconds."""

    system_prompt = models.TextField(blank=True, help_text="Goes before every new conversation of this user.")

    @property
    def initials(self) -> str:
        name = self.get_full_name() or self.username
        return "".join(part[0] for part in name.split()[:2]).upper()
