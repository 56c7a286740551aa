"""Validate the form that starts a rollout."""

from __future__ import annotations

from typing import Any

from django import forms

from webapp.backends.models import BackendModel, Rollout


class RolloutForm(forms.ModelForm):
    """Choose a route, a candidate among the offered models, and the limits of a canary."""

    candidate = forms.ModelChoiceField(queryset=BackendModel.objects.select_related("backend").order_by("backend__name", "name"))
    field_order = ("route", "candidate", "kind", "percent", "min_samples", "max_error_rise", "max_latency_ratio")

    class Meta:
        model = Rollout
        fields = ("route", "kind", "percent", "min_samples", "max_error_rise", "max_latency_ratio")

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `services.start_rollout`."""
        chosen = dict(self.cleaned_data)
        offered = chosen.pop("candidate")
        return {**chosen, "backend": offered.backend, "model": offered.name}
