"""Define the forms for the settings of a conversation and for prompts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from chat.generation import context_window
from chat.models import Conversation, Prompt
from chat.prompts import COMMANDS
from webapp.accounts.models import User
from webapp.patterns.agent.tools import Tool
from webapp.patterns.mcp.names import SEPARATOR
from webapp.patterns.sanitize import parse_object
from webapp.ports import toolbox

BACKEND_DEFAULT = "Default of the backend"


class SettingsForm(forms.Form):
    """The settings that each question uses. Empty means the backend's default."""

    system_prompt = forms.CharField(required=False, max_length=100_000, widget=forms.Textarea(attrs={"rows": 4}))
    temperature = forms.FloatField(
        required=False,
        min_value=0,
        max_value=2,
        widget=forms.NumberInput(attrs={"step": "0.1", "placeholder": BACKEND_DEFAULT}),
        help_text=gettext_lazy("0 to 2. Lower values give more predictable answers."),
    )
    top_p = forms.FloatField(
        label=gettext_lazy("Top P"),
        required=False,
        min_value=0,
        max_value=1,
        widget=forms.NumberInput(attrs={"step": "0.05", "placeholder": BACKEND_DEFAULT}),
        help_text=gettext_lazy("0 to 1. Change this or the temperature, not both."),
    )
    max_tokens = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=1_000_000,
        label=gettext_lazy("Max tokens"),
        widget=forms.NumberInput(attrs={"placeholder": BACKEND_DEFAULT}),
        help_text=gettext_lazy("The longest answer."),
    )
    overflow = forms.ChoiceField(
        required=False, choices=context_window.OVERFLOW, label=gettext_lazy("Messages that no longer fit the context window")
    )
    tools = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("A tool that changes something or spends asks for approval before it runs."),
    )
    json_schema = forms.CharField(
        required=False,
        max_length=50_000,
        label=gettext_lazy("JSON schema of the answer"),
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono"}),
        help_text=gettext_lazy(
            "Leave empty for plain text. An answer that does not match is retried up to three times. Tools are off while a schema is set."
        ),
    )

    def __init__(self, data: Any = None, *, conversation: Conversation) -> None:
        options = conversation.options
        schema = (options.get("response_format") or {}).get("json_schema", {}).get("schema")
        offers = toolbox.offers(conversation.user, conversation.model)
        initial = {
            "system_prompt": conversation.system_prompt,
            **{name: options.get(name) for name in ("temperature", "top_p", "max_tokens")},
            "tools": options.get("tools", [offer.tool.name for offer in offers if offer.on_by_default]),
            "overflow": options.get("overflow", context_window.LEAVE_OUT),
            "json_schema": json.dumps(schema, indent=2) if schema else "",
        }
        super().__init__(data, initial=initial)
        self.fields["tools"].choices = _tool_choices(offers)  # type: ignore[attr-defined]  # of ChoiceField

    def clean_json_schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema as an object, or None when the field is empty."""
        text = self.cleaned_data["json_schema"].strip()
        if not text:
            return None
        try:
            schema = parse_object(text)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        from jsonschema import Draft202012Validator, SchemaError

        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise forms.ValidationError(_("This is not a JSON schema: %(message)s") % {"message": error.message}) from None
        return schema

    def options(self) -> dict[str, Any]:
        """Return the conversation's `options`."""
        data = self.cleaned_data
        result = {name: data[name] for name in ("temperature", "top_p", "max_tokens") if data[name] is not None}
        result["tools"] = data["tools"]
        if data["overflow"]:
            result["overflow"] = data["overflow"]
        if data["json_schema"]:
            schema = {"name": "answer", "strict": True, "schema": data["json_schema"]}
            result["response_format"] = {"type": "json_schema", "json_schema": schema}
        return result


def _tool_choices(offers: Sequence[toolbox.Offer]) -> list[tuple[str, Any]]:
    """Return the tools to choose from: the product's own, then those of each tool server as a group."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for offer in offers:
        label = _tool_label(offer.tool, offer.tool.name.partition(SEPARATOR)[2] if offer.group else offer.tool.name)
        groups.setdefault(offer.group, []).append((offer.tool.name, f"{label} ({offer.note})" if offer.note else label))
    return [*groups.pop("", []), *groups.items()]


_ACRONYMS = frozenset({"api", "gpu", "url"})


def _tool_label(tool: Tool, name: str) -> str:
    """Return a tool's name and the first sentence of its description."""
    words = [word.upper() if word in _ACRONYMS else word for word in name.split("_")]
    sentence = re.split(r"[.:;]\s", tool.description, maxsplit=1)[0].rstrip(".")[:150]
    return f"{' '.join([words[0].capitalize(), *words[1:]])}: {sentence}"


class PromptForm(forms.Form):
    """A prompt of the library."""

    name = forms.RegexField(
        r"^[a-z0-9][a-z0-9_-]*$",
        max_length=40,
        help_text=gettext_lazy("What you type after the slash: lowercase letters, digits, - and _."),
    )
    text = forms.CharField(
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 8}),
        help_text=gettext_lazy("You are asked for {{name}} each time you use the prompt."),
    )
    shared = forms.BooleanField(required=False, label=gettext_lazy("Share with everyone"))

    def __init__(self, data: Any = None, *, user: User, prompt: Prompt | None) -> None:
        initial = {"name": prompt.name, "text": prompt.text, "shared": prompt.shared} if prompt else {}
        super().__init__(data, initial=initial)
        others = Prompt.objects.filter(user=user)
        self._others = others.exclude(id=prompt.id) if prompt else others

    def clean_name(self) -> str:
        """Return a name that is neither a built-in command nor taken."""
        name = str(self.cleaned_data["name"])
        if name in COMMANDS:
            raise forms.ValidationError(f"/{name} is a built-in command.")
        if self._others.filter(name=name).exists():
            raise forms.ValidationError(_("You already have a prompt with this name."))
        return name
