"""Define the forms of a new batch: from a JSONL file, from a table and a template, from pasted lines."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from batches.input.tables import LINE, Prompting
from batches.models import Batch, File
from batches.services import MAX_CONCURRENCY
from webapp.patterns.batch.input_file import ENDPOINTS
from webapp.patterns.sanitize import parse_object
from webapp.patterns.types import Json

EXECUTORS = [
    (Batch.Executor.AUTO, "Automatic: the backend's Batch API if it has one, otherwise Patchbay"),
    (Batch.Executor.REMOTE, "Remote: the backend's Batch API (half price, within 24 hours)"),
    (Batch.Executor.LOCAL, "Local: Patchbay sends the requests now, over any route"),
]
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"


class OptionsForm(forms.Form):
    """Options of every new batch."""

    name = forms.CharField(
        max_length=200, required=False, label=gettext_lazy("Name"), help_text=gettext_lazy("A name that helps you find it later.")
    )
    executor = forms.ChoiceField(choices=EXECUTORS, initial=Batch.Executor.AUTO, required=False, label=gettext_lazy("Execution"))
    concurrency = forms.IntegerField(
        min_value=1,
        max_value=MAX_CONCURRENCY,
        initial=32,
        required=False,
        label=gettext_lazy("Requests at once"),
        help_text=gettext_lazy("Upper limit when Patchbay runs the batch."),
    )
    webhook_url = forms.CharField(
        max_length=500,
        required=False,
        label=gettext_lazy("Webhook"),
        help_text=gettext_lazy("Receives a signed request when the batch ends."),
    )

    def options(self) -> dict[str, Any]:
        """Return keyword arguments for `services.create_batch`."""
        data = self.cleaned_data
        return {
            "name": data["name"],
            "executor": data["executor"] or Batch.Executor.AUTO,
            "concurrency": data["concurrency"] or 32,
            "webhook_url": data["webhook_url"],
        }


class JsonlForm(OptionsForm):
    """A file in OpenAI's format, or one that was uploaded earlier for a check (`file_id`)."""

    file = forms.FileField(
        required=False,
        label=gettext_lazy("JSONL file"),
        help_text=gettext_lazy("One request per line, in the format of OpenAI's Batch API."),
    )
    file_id = forms.UUIDField(required=False, widget=forms.HiddenInput)
    stored: File | None = None
    """The file once it is stored: a temporary upload is moved, so it can be stored only once."""
    field_order = ("file", "file_id", "name", "executor", "concurrency", "webhook_url")

    def clean(self) -> dict[str, Any]:
        """Require a file, uploaded or stored."""
        data: dict[str, Any] = super().clean() or {}
        if not data.get("file") and not data.get("file_id") and "file" not in self.errors:
            self.add_error("file", forms.ValidationError(_("Choose a file."), code="required"))
        return data


class PromptForm(OptionsForm):
    """Rows and a prompt template."""

    model = forms.ChoiceField(label=gettext_lazy("Model"))
    endpoint = forms.ChoiceField(
        choices=[(CHAT, "Chat completions"), (EMBEDDINGS, "Embeddings")], initial=CHAT, required=False, label=gettext_lazy("Request type")
    )
    template = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false"}),
        label=gettext_lazy("Prompt template"),
        help_text=gettext_lazy("Use {{ column }} to insert the value of that column."),
    )
    system = forms.CharField(widget=forms.Textarea(attrs={"rows": 2}), required=False, label=gettext_lazy("System prompt"))
    max_tokens = forms.IntegerField(min_value=1, required=False, label=gettext_lazy("Max tokens per answer"))
    schema = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        required=False,
        label=gettext_lazy("JSON schema of each answer"),
        help_text=gettext_lazy("An answer that does not match is retried. Batches with a schema run in Patchbay."),
    )

    def __init__(self, *args: Any, models: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["model"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = models

    def clean_endpoint(self) -> str:
        """Return the endpoint, chat completions by default."""
        endpoint = self.cleaned_data["endpoint"] or CHAT
        assert endpoint in ENDPOINTS
        return str(endpoint)

    def clean_schema(self) -> Json | None:
        """Return the JSON Schema as an object, or None when the field is empty."""
        text = self.cleaned_data["schema"].strip()
        if not text:
            return None
        try:
            return parse_object(text)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def sent_body(self, body: Json) -> Json:
        """Return a request's body as it is sent first: with the schema as its response format.

        Raises:
            InputError: the schema is not valid.
        """
        from webapp.patterns.agent.structured import response_format

        schema = self.cleaned_data["schema"]
        return body if schema is None else {**body, "response_format": response_format(schema)}

    def problems(self) -> list[str]:
        """Return what is wrong with the fields that are filled in, as sentences. Empty fields are left out."""
        found = []
        for name, errors in self.errors.as_data().items():
            label = self.fields[name].label if name in self.fields else ""
            found += [" ".join(filter(None, [f"{label}:", *error.messages])) for error in errors if error.code != "required"]
        return found

    def prompting(self) -> Prompting:
        """Return how each row becomes a request."""
        data = self.cleaned_data
        return Prompting(data["endpoint"], data["model"], data["template"], data["system"], data["max_tokens"])

    def options(self) -> dict[str, Any]:
        """Return the choices to keep with the batch."""
        return {**super().options(), "schema": self.cleaned_data["schema"], "endpoint": self.cleaned_data["endpoint"]}


class TableForm(PromptForm):
    """A CSV or JSONL table, or one that was kept from an attempt with errors (`file_id`)."""

    file = forms.FileField(
        required=False, label=gettext_lazy("Table"), help_text=gettext_lazy("CSV with a header line, or JSONL with one object per line.")
    )
    file_id = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        """Require a table, uploaded or kept."""
        data: dict[str, Any] = super().clean() or {}
        if not data.get("file") and not data.get("file_id") and "file" not in self.errors:
            self.add_error("file", forms.ValidationError(_("Choose a file."), code="required"))
        return data

    field_order = ("file", "file_id", "model", "endpoint", "template", "system", "max_tokens", "schema")


class LinesForm(PromptForm):
    """Pasted lines."""

    lines = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false"}),
        label=gettext_lazy("Lines"),
        help_text=gettext_lazy("Each line is one request."),
    )
    field_order = ("lines", "model", "endpoint", "template", "system", "max_tokens", "schema")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["template"].initial = f"{{{{ {LINE} }}}}"
        self.fields["template"].required = False

    def clean_template(self) -> str:
        """Return the template, by default the line itself."""
        return self.cleaned_data["template"] or f"{{{{ {LINE} }}}}"


def pretty(value: Any) -> str:
    """Format JSON for display."""
    return json.dumps(value, indent=2, ensure_ascii=False)
