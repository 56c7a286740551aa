"""Define the forms of the configuration admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from webapp.backends.config.addresses import clean_base_url
from webapp.backends.config.crypto import Secret
from webapp.backends.config.presets import PRESETS
from webapp.backends.models import Backend, BackendModel
from webapp.backends.services import same_server


class KeyField(forms.CharField):
    """A key that is typed once. Afterwards the field shows only its last four characters, and an empty field keeps it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}), **options)

    def prepare_value(self, value: Any) -> str:  # noqa: ARG002 - Django's signature
        """Return an empty value: the page never shows a stored key."""
        return ""

    def has_changed(self, initial: Any, data: Any) -> bool:  # noqa: ARG002 - Django's signature
        """Return whether a key was typed."""
        return bool(data)


CAPABILITIES = (("", "unknown"), ("yes", "yes"), ("no", "no"))


class ModelForm(forms.ModelForm):
    """A model of a backend with the facts that steer the chain: yes, no, or unknown until a probe answers."""

    tools = forms.ChoiceField(choices=CAPABILITIES, required=False)
    json_schema = forms.ChoiceField(label=gettext_lazy("JSON schema"), choices=CAPABILITIES, required=False)
    embeddings = forms.ChoiceField(choices=CAPABILITIES, required=False)

    class Meta:
        model = BackendModel
        fields = ["backend", "name", "context_window", "input_price", "output_price"]

    STEERING = ("tools", "json_schema", "embeddings")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.STEERING:
            self.initial[name] = {True: "yes", False: "no"}.get(self.instance.capabilities.get(name), "")

    def save(self, commit: bool = True) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        """Store the chosen capabilities and keep the discovered ones."""
        chosen = {name: self.cleaned_data[name] for name in self.STEERING}
        kept = {name: value for name, value in self.instance.capabilities.items() if name not in chosen}
        self.instance.capabilities = kept | {name: value == "yes" for name, value in chosen.items() if value}
        return super().save(commit)


class BackendForm(forms.ModelForm):
    """A backend. A new server address requires the key again, because the key belongs to the old server."""

    preset = forms.ChoiceField(choices=[(preset.name, preset.title) for preset in PRESETS.values() if preset.name != "builtin"])
    api_key = KeyField(label=gettext_lazy("API key"))
    forget_key = forms.BooleanField(label=gettext_lazy("Remove the stored key"), required=False)
    first_in_default = forms.BooleanField(label=gettext_lazy("Put it first in the default route"), required=False)

    class Meta:
        model = Backend
        fields = [
            "name",
            "preset",
            "base_url",
            "api_key",
            "api_key_env",
            "headers",
            "enabled",
            "position",
            "connect_timeout",
            "first_token_timeout",
            "idle_timeout",
            "max_concurrency",
            "input_price",
            "output_price",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stored: Secret = self.instance.api_key
        self._address: str = self.instance.base_url
        hint = self._stored.hint()
        known = f"Stored: {hint}. Type a new one to replace it."
        self.fields["api_key"].help_text = known if hint else "Stored encrypted. Afterwards only the last four characters are shown."
        for name, wanted in (("forget_key", bool(self._stored)), ("first_in_default", not self.instance.pk)):
            if not wanted:
                del self.fields[name]
        if self.instance.preset == "builtin":
            self.fields["preset"].choices = [("builtin", "Built-in")]  # type: ignore[attr-defined] # a ChoiceField, declared above

    def clean_base_url(self) -> str:
        """Return the corrected base URL."""
        return clean_base_url(self.cleaned_data["base_url"])

    def clean_api_key(self) -> Secret:
        """Return the typed key, or the stored one when the field is empty."""
        typed = self.cleaned_data["api_key"].strip()
        return Secret.of(typed) if typed else self._stored

    def clean(self) -> dict[str, Any]:
        """Check that key, variable and deletion of the key do not contradict each other."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        typed = bool(self.data.get(self.add_prefix("api_key")))
        if data.get("forget_key") and not typed:
            data["api_key"] = Secret()
        elif self._stored and not typed and data.get("base_url") and not same_server(self._address, data["base_url"]):
            self.add_error(
                "api_key",
                ValidationError(_("The address now belongs to another server. Enter that server's key, or remove the stored one.")),
            )
        if data.get("api_key") and data.get("api_key_env"):
            self.add_error("api_key_env", ValidationError(_("Set a stored key or a variable, not both.")))
        return data
