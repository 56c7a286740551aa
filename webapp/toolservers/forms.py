"""Forms for tool servers and for the approval of their tools."""

from __future__ import annotations

import json
import shlex
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from webapp.backends.config.crypto import KeyLost
from webapp.backends.models import Route
from webapp.toolservers import services
from webapp.toolservers.models import ToolServer
from webapp.toolservers.presets import Preset


class ServerForm(forms.Form):
    """A server's address or command, and its limits. `shared` servers are the administrators'."""

    name = forms.CharField(max_length=60, help_text=_("The names of its tools start with this, e.g. “github”."))
    url = forms.CharField(max_length=500, required=False, label=_("Address"), help_text=_("The address of its streamable HTTP endpoint."))
    command = forms.CharField(
        max_length=2000, required=False, help_text=_("Instead of an address: a program on Patchbay's machine, with its arguments.")
    )
    headers = forms.CharField(
        max_length=10_000, required=False, widget=forms.Textarea(attrs={"rows": 2, "class": "mono"}),
        help_text=_("One “Name: value” per line. Stored encrypted. Leave empty to keep the stored values."),
    )  # fmt: skip
    environment = forms.CharField(
        max_length=10_000, required=False, widget=forms.Textarea(attrs={"rows": 2, "class": "mono"}),
        help_text=_("For a command: one “NAME=value” per line. Stored encrypted. Leave empty to keep the stored values."),
    )  # fmt: skip
    oauth_client_id = forms.CharField(
        max_length=500, required=False, label=_("OAuth client ID"),
        help_text=_("Only where the server's operator gave you one. Without it, Patchbay registers itself when you sign in."),
    )  # fmt: skip
    oauth_client_secret = forms.CharField(
        max_length=2000, required=False, label=_("OAuth client secret"),
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=_("Stored encrypted. Leave empty to keep the stored one, or for a client without a secret."),
    )  # fmt: skip
    enabled = forms.BooleanField(required=False, initial=True)
    on_by_default = forms.BooleanField(required=False, initial=True, label=_("On in new conversations"))
    routes = forms.ModelMultipleChoiceField(
        Route.objects.order_by("name"), required=False, to_field_name="name", widget=forms.CheckboxSelectMultiple,
        help_text=_("Leave empty for all routes and models."),
    )  # fmt: skip
    call_seconds = forms.FloatField(min_value=1, max_value=600, initial=60, label=_("Timeout of a call (seconds)"))
    result_chars = forms.IntegerField(min_value=1000, max_value=500_000, initial=50_000, label=_("Max characters of a result"))
    max_calls = forms.IntegerField(min_value=1, max_value=100, initial=20, label=_("Max calls per answer"))

    def __init__(self, data: Any = None, *, server: ToolServer | None = None, preset: Preset | None = None, shared: bool) -> None:
        super().__init__(data, initial=_of_server(server) if server else _of_preset(preset) if preset else {})
        if not shared:
            for name in ("command", "environment", "routes"):
                del self.fields[name]
        if server:
            self.fields["name"].disabled = True

    def clean_headers(self) -> dict[str, str] | None:
        """Return the headers by name."""
        return _lines(self.cleaned_data["headers"], ":")

    def clean_environment(self) -> dict[str, str] | None:
        """Return the variables by name."""
        return _lines(self.cleaned_data["environment"], "=")

    def clean_command(self) -> list[str]:
        """Return the command as a list of arguments."""
        try:
            return shlex.split(self.cleaned_data["command"])
        except ValueError as error:
            raise forms.ValidationError(gettext("This is not a command line: %(error)s.") % {"error": error}) from None

    def address(self) -> dict[str, Any]:
        """Return the keyword arguments of `services.add_server`, but for the owner."""
        data = self.cleaned_data
        client = {"client_id": data["oauth_client_id"].strip(), "client_secret": data["oauth_client_secret"]}
        address: dict[str, Any] = {name: data[name] for name in ("name", "url", "command", "headers", "environment") if name in data}
        return {**address, "oauth_client": client}

    def limits(self) -> dict[str, Any]:
        """Return the server's other columns."""
        names = ("enabled", "on_by_default", "call_seconds", "result_chars", "max_calls")
        return {name: self.cleaned_data[name] for name in names}


def _lines(text: str, separator: str) -> dict[str, str] | None:
    """Return the pairs of a text, one a line; None for an empty text."""
    pairs = [line.partition(separator) for line in text.splitlines() if line.strip()]
    if any(not found or not name.strip() for name, found, _ in pairs):
        raise forms.ValidationError(gettext("Write one NAME%(separator)sVALUE a line.") % {"separator": separator})
    return {name.strip(): value.strip() for name, _sep, value in pairs} or None


def _of_server(server: ToolServer) -> dict[str, Any]:
    names = ("name", "url", "enabled", "on_by_default", "call_seconds", "result_chars", "max_calls")
    routes = list(server.routes.values_list("name", flat=True))
    client = services.stored_oauth(server).get("given") or {}
    initial: dict[str, Any] = {name: getattr(server, name) for name in names}
    return {**initial, "command": shlex.join(server.command), "routes": routes, "oauth_client_id": client.get("client_id", "")}


def _of_preset(preset: Preset) -> dict[str, Any]:
    return {"name": preset.name, "url": preset.url, "command": shlex.join(preset.command), "headers": preset.header}


def secret_names(server: ToolServer) -> str:
    """Return the names of the stored headers and variables, without their values."""
    try:
        stored = [*json.loads(server.headers.reveal() or "{}"), *json.loads(server.environment.reveal() or "{}")]
    except KeyLost as error:
        return str(error)
    return ", ".join(stored)
