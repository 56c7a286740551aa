"""A JSON answer as a form, as a table, and as the text that the model wrote."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from html import escape
from typing import Any

MAX_DEPTH = 6
MAX_ROWS = 200
MAX_COLUMNS = 20


def value_card(part: dict[str, Any], raw: str) -> str:
    """Return the three views, one open at a time.

    Args:
        part: has `id`, `value`, `tries` and, where no answer fitted the schema, `invalid`.
        raw: the text that the model wrote.
    """
    group = escape(part["id"])
    views = [("Form", form(part["value"])), ("Table", table(part["value"])), ("JSON", _raw(raw))]
    if part.get("invalid"):
        views = [("The last answer", _raw(raw))]
    body = "".join(
        f'<details name="{group}"{" open" if not place else ""}><summary>{title}</summary>{html}</details>'
        for place, (title, html) in enumerate(views)
    )
    return f'<div class="value" data-testid="json-answer">{body}{_tries(part["tries"])}</div>'


def _tries(tries: Sequence[str]) -> str:
    """Return why each earlier answer did not fit."""
    if not tries:
        return ""
    rows = "".join(f"<li><pre>{escape(why)}</pre></li>" for why in tries)
    answers = "answer did" if len(tries) == 1 else "answers did"
    return f'<details class="value-tries"><summary>{len(tries)} {answers} not fit the schema</summary><ol>{rows}</ol></details>'


def _raw(text: str) -> str:
    with contextlib.suppress(ValueError, RecursionError):  # shown as it is
        text = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    return f'<pre tabindex="0">{escape(text)}</pre>'


def form(value: Any, depth: int = 0) -> str:
    """Return names beside their values, and lists of plain values as bullets."""
    if depth >= MAX_DEPTH and isinstance(value, dict | list):
        return f"<code>{escape(json.dumps(value, ensure_ascii=False))}</code>"
    if isinstance(value, dict) and value:
        rows = "".join(f"<dt>{escape(label(name))}</dt><dd>{form(inner, depth + 1)}</dd>" for name, inner in value.items())
        return f"<dl>{rows}</dl>"
    if isinstance(value, list) and value:
        items = "".join(f"<li>{form(inner, depth + 1)}</li>" for inner in value[:MAX_ROWS])
        return f"<ul>{items}</ul>{_more(len(value))}"
    return plain(value)


def table(value: Any) -> str:
    """Return a list of objects with a column for each name; anything else as its paths and values."""
    found = _records(value)
    if found is None:
        rows = [{"Field": path, "Value": inner} for path, inner in _leaves(value)]
        return _table(["Field", "Value"], rows)
    names = dict.fromkeys(name for record in found[:MAX_ROWS] for name in record)
    return _table(list(names)[:MAX_COLUMNS], found)


def _records(value: Any) -> list[dict[str, Any]] | None:
    """Return the value's only list of objects, itself or one level down."""
    lists = [value] if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    found = [each for each in lists if isinstance(each, list) and each and all(isinstance(row, dict) for row in each)]
    return found[0] if len(found) == 1 else None


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [leaf for name, each in inner for leaf in _leaves(each, f"{path}.{name}" if path else str(name))]
    return found or [(path or "value", value)]


def _table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    head = "".join(f'<th scope="col">{escape(label(name))}</th>' for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{plain(row.get(name, ''))}</td>" for name in columns) + "</tr>" for row in rows[:MAX_ROWS])
    return (
        f'<div class="value-table" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{_more(len(rows))}'
    )


def _more(count: int) -> str:
    return f'<p class="muted small">… and {count - MAX_ROWS:,} more, in the JSON</p>' if count > MAX_ROWS else ""


def plain(value: Any) -> str:
    """Return one value as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ({}, []):
        return '<span class="muted">none</span>'
    return escape(value) if isinstance(value, str) else escape(json.dumps(value, ensure_ascii=False))


def label(name: str) -> str:
    """Return a property's name as a heading: `unit_price` becomes “Unit price”."""
    words = name.replace("_", " ").strip() or name
    return words[:1].upper() + words[1:]
