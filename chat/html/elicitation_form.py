"""The form in a tool card with which a tool server asks the user something (elicitation)."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any
from urllib.parse import urlsplit

FIELD_PREFIX = "field."
"""Begins the names of the form's inputs, so that a server cannot name one like a field of the frame."""
MAX_FIELDS = 20
MAX_OPTIONS = 100
_INPUT_TYPES = {"email": "email", "uri": "url", "date": "date", "date-time": "datetime-local"}


def elicitation_form(call_id: str, question: dict[str, Any]) -> str:
    """Return the form for a question: its fields, or the address that the user is asked to visit.

    Args:
        question: `message`, `schema`, `url` and, after an answer that did not fit, `error`.
    """
    fields = _link(question["url"]) if question.get("url") else "".join(_fields(call_id, question.get("schema") or {}))
    error = f'<p class="notice" data-level="error" role="alert">{escape(question["error"])}</p>' if question.get("error") else ""
    return (
        f'<form class="tool-input" data-testid="tool-input" hx-ws:send>'
        f"<p>{escape(question['message'])}</p>{error}{fields}"
        '<p class="muted small">The tool server asks this. Do not enter passwords or keys.</p>'
        '<div class="row"><button name="answer" value="accept" data-kind="primary">Send</button>'
        '<button name="answer" value="decline" formnovalidate>Decline</button></div>'
        f'<input type="hidden" name="action" value="answer"><input type="hidden" name="call" value="{escape(call_id)}"></form>'
    )


def _link(url: str) -> str:
    """Return a link that names its host, so that the user sees where it leads. Other schemes than http are shown as text."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        return f"<p><code>{escape(url)}</code></p>"
    return (
        f'<p>It asks you to visit <a href="{escape(url)}" target="_blank" rel="noopener noreferrer nofollow">{escape(parts.netloc)}</a>'
        " and then to press Send.</p>"
    )


def _fields(call_id: str, schema: dict[str, Any]) -> Iterator[str]:
    properties = schema.get("properties")
    required = schema.get("required") or []
    for number, (name, field) in enumerate(list((properties or {}).items())[:MAX_FIELDS]):
        if isinstance(field, dict):
            yield _field(f"in-{call_id}-{number}", name, field, required=name in required)


def _field(id_: str, name: str, field: dict[str, Any], *, required: bool) -> str:
    """Return one field with its label and description."""
    title = escape(str(field.get("title") or name))
    about = f'<span class="muted small">{escape(str(field["description"]))}</span>' if field.get("description") else ""
    attributes = f'id="{escape(id_)}" name="{escape(FIELD_PREFIX + name)}"'
    if field.get("type") == "boolean":
        checked = " checked" if field.get("default") else ""
        return f'<label class="check"><input type="checkbox" value="true" {attributes}{checked}> {title}</label>{about}'
    star = " required" if required else ""
    control = _select(field, attributes + star) if _options(field) else _input(field, attributes + star)
    return f'<label for="{escape(id_)}">{title}{"" if required else " (optional)"}</label>{control}{about}'


def _input(field: dict[str, Any], attributes: str) -> str:
    default = field.get("default")
    value = f' value="{escape(str(default))}"' if isinstance(default, str | int | float) else ""
    if field.get("type") in {"number", "integer"}:
        step = "1" if field["type"] == "integer" else "any"
        return f'<input type="number" step="{step}" {attributes}{value}>'
    kind = _INPUT_TYPES.get(str(field.get("format")), "text")
    return f'<input type="{kind}" {attributes}{value} maxlength="10000">'


def _select(field: dict[str, Any], attributes: str) -> str:
    several = field.get("type") == "array"
    default = field.get("default")
    chosen = set(map(str, default)) if isinstance(default, list) else {str(default)}
    options = "".join(
        f'<option value="{escape(value)}"{" selected" if value in chosen else ""}>{escape(title)}</option>'
        for value, title in _options(field)[:MAX_OPTIONS]
    )
    empty = "" if several else '<option value="">–</option>'
    return f"<select {attributes}{' multiple' if several else ''}>{empty}{options}</select>"


def _options(field: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the values and titles to choose from: `enum` with or without `enumNames`, or `oneOf`/`anyOf` of constants."""
    items = field.get("items") if field.get("type") == "array" else field
    if not isinstance(items, dict):
        return []
    values = items.get("enum")
    if isinstance(values, list):
        titles = items.get("enumNames") or values
        return [(str(value), str(title)) for value, title in zip(values, titles, strict=False)]
    constants = items.get("oneOf") or items.get("anyOf") or []
    return [
        (str(each["const"]), str(each.get("title") or each["const"])) for each in constants if isinstance(each, dict) and "const" in each
    ]
