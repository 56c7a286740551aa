"""Define the form of a route's settings."""

from __future__ import annotations

from django import forms

from webapp.backends.models import Route


class RouteForm(forms.ModelForm):
    """The settings of a route, without its steps and without the users who may use it."""

    class Meta:
        model = Route
        fields = ["name", "description", "enabled", "balance", "sticky", "mid_stream", "hedge_ms"]
