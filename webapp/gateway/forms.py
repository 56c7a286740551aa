"""Define the form that creates a token."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy

from webapp.backends.models import default_scopes

SCOPES = {
    "chat": "Chat, completions, messages, moderation, audio and images",
    "embeddings": "Embeddings and reranking",
    "models": "List models",
    "files": "Files; create and change vector stores",
    "batches": "Batches",
    "search": "Search documents: in vector stores and at /mcp",
}
LIFETIMES = {"": "Never", "7": "In 7 days", "30": "In 30 days", "90": "In 90 days", "365": "In a year"}


class TokenForm(forms.Form):
    """Name, permissions, and limits of a new token. Empty limits mean none."""

    label = forms.CharField(max_length=100, help_text=gettext_lazy("What it is for, e.g. “notebook”."))
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("May use"), choices=list(SCOPES.items()), initial=default_scopes, widget=forms.CheckboxSelectMultiple
    )
    lifetime = forms.ChoiceField(label=gettext_lazy("Expires"), choices=list(LIFETIMES.items()), required=False)
    requests_per_minute = forms.IntegerField(
        min_value=1, max_value=1_000_000, required=False, help_text=gettext_lazy("Leave empty for no limit.")
    )
    tokens_per_minute = forms.IntegerField(
        min_value=1, max_value=1_000_000_000, required=False, help_text=gettext_lazy("Leave empty for no limit.")
    )
    monthly_budget = forms.DecimalField(
        min_value=0,
        max_digits=12,
        decimal_places=4,
        required=False,
        help_text=gettext_lazy("In the currency of the backends' prices. Leave empty for no limit."),
    )

    def values(self) -> dict[str, Any]:
        """Return the keyword arguments of `services.create_token`, without the user."""
        data = dict(self.cleaned_data)
        days = data.pop("lifetime")
        return {**data, "expires_at": timezone.now() + timedelta(days=int(days)) if days else None}
