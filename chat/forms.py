"""Define the forms for the settings of a conversation and for prompts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib.auth.models import Group
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from chat.assistants import MAX_STARTERS
from chat.generation import context_window
from chat.models import DEFAULT_MODEL, Assistant, Conversation, Prompt
from chat.prompts import COMMANDS
from webapp.accounts.models import User
from webapp.patterns.agent.tools import Tool
from webapp.patterns.mcp.names import SEPARATOR
from webapp.patterns.sanitize import parse_object
from webapp.ports import toolbox

BACKEND_DEFAULT = gettext_lazy("Default of the backend")


class SettingsForm(forms.Form):
    """The settings that each question uses. Empty means the backend's default."""

    system_prompt = forms.CharField(
        label=gettext_lazy("System prompt"), required=False, max_length=100_000, widget=forms.Textarea(attrs={"rows": 4})
    )
    temperature = forms.FloatField(
        label=gettext_lazy("Temperature"),
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
        label=gettext_lazy("Tools"),
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


class AssistantForm(SettingsForm):
    """An assistant: what names it, the model, and the settings of a conversation."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=60)
    icon = forms.CharField(label=gettext_lazy("Icon"), required=False, max_length=16, help_text=gettext_lazy("An emoji."))
    description = forms.CharField(label=gettext_lazy("Description"), required=False, max_length=200)
    model = forms.ChoiceField(label=gettext_lazy("Model"))
    starters = forms.CharField(
        label=gettext_lazy("Starters"),
        required=False,
        max_length=3000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("Up to six questions that a new chat offers, one a line."),
    )
    groups = forms.ModelMultipleChoiceField(
        Group.objects.none(), label=gettext_lazy("Share with groups"), required=False, widget=forms.CheckboxSelectMultiple
    )
    shared = forms.BooleanField(required=False, label=gettext_lazy("Share with everyone"))
    field_order = ("name", "icon", "description", "model", "system_prompt", "starters")

    def __init__(self, data: Any = None, *, user: User, assistant: Assistant | None, models: Sequence[str]) -> None:
        edited = assistant or Assistant(user=user, model=user.chat_model if user.chat_model in models else DEFAULT_MODEL)
        settings = Conversation(user=user, model=edited.model, system_prompt=edited.system_prompt, options=edited.options)
        super().__init__(data, conversation=settings)
        names = dict.fromkeys([edited.model, *models])  # a model that is gone stays chosen
        self.fields["model"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]  # of ChoiceField
        groups = Group.objects.all() if user.is_superuser else user.groups.all()
        if assistant:
            groups = Group.objects.filter(Q(id__in=groups.values("id")) | Q(id__in=assistant.groups.values("id")))
        self.fields["groups"].queryset = groups.order_by("name")  # type: ignore[attr-defined]  # of ModelChoiceField
        if not self.fields["groups"].queryset.exists():  # type: ignore[attr-defined]  # of ModelChoiceField
            del self.fields["groups"]
        shown = ("name", "icon", "description", "model", "shared")
        self.initial.update({name: getattr(edited, name) for name in shown}, starters="\n".join(edited.starters))
        self.initial["groups"] = assistant.groups.all() if assistant else []
        self._others = Assistant.objects.filter(user=user).exclude(id=edited.id)

    def clean_name(self) -> str:
        """Return a name that no other assistant of the user has."""
        name = str(self.cleaned_data["name"])
        if self._others.filter(name=name).exists():
            raise forms.ValidationError(_("You already have an assistant with this name."))
        return name

    def clean_starters(self) -> list[str]:
        """Return the questions, without empty lines."""
        lines = [line.strip() for line in self.cleaned_data["starters"].splitlines()]
        found = [line for line in lines if line]
        if len(found) > MAX_STARTERS:
            raise forms.ValidationError(_("Write at most %(n)s starters."), params={"n": MAX_STARTERS})
        return found

    def fields_of_assistant(self) -> dict[str, Any]:
        """Return the arguments of `save_assistant`."""
        names = ("name", "icon", "description", "model", "system_prompt", "starters", "shared")
        data = self.cleaned_data
        return {name: data[name] for name in names} | {"options": self.options(), "groups": data.get("groups", [])}


class PromptForm(forms.Form):
    """A prompt of the library."""

    name = forms.RegexField(
        r"^[a-z0-9][a-z0-9_-]*$",
        max_length=40,
        help_text=gettext_lazy("What you type after the slash: lowercase letters, digits, - and _."),
    )
    text = forms.CharField(
        label=gettext_lazy("Text"),
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
            raise forms.ValidationError(_("/%(name)s is a built-in command.") % {"name": name})
        if self._others.filter(name=name).exists():
            raise forms.ValidationError(_("You already have a prompt with this name."))
        return name
