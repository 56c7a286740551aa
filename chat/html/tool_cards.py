"""Tool calls as cards. They change while an answer streams, so they are drawn without a template."""

from __future__ import annotations

import contextlib
import json
from html import escape
from typing import Any

from django.utils.translation import gettext as _

from chat.html.elicitation_form import elicitation_form
from chat.streaming.answer import Part
from webapp.patterns import sanitize
from webapp.templatetags.ui import milliseconds

SHOWN_CHARS = 20_000
_STATES = {
    "running": ("run", "running"),
    "asking": ("warn", "needs approval"),
    "input": ("warn", "needs input"),
    "done": ("ok", "done"),
    "failed": ("bad", "failed"),
    "declined": ("warn", "declined"),
}

_REASONS = {
    "acts": "This tool may change something or spend.",
    "untrusted": "This answer read content from outside, which may have asked for this call.",
    "secret": "The arguments seem to hold a key or a password, and would leave this server.",
}


def reasoning_title(part: Part) -> str:
    """Return the summary of a folded reasoning: how long it took, once that is known."""
    ms = part.fields.get("ms")
    return f"Thought for {_duration(ms)}" if ms is not None else "Thought" if part.whole else "Thinking…"


def _duration(ms: float) -> str:
    return "a moment" if ms < 1000 else f"{ms / 1000:.0f} s"


def tool_card(call: dict[str, Any]) -> str:
    """Return a tool call: its name, state and time, and on opening its arguments, result and error.

    A question to the user stands below the card, since the page keeps a card as open or closed as the user left it.
    """
    state, word = _STATES[call["state"]]
    took = f' <span class="muted small">{milliseconds(call["ms"])}</span>' if call.get("ms") is not None else ""
    head = f'<code>{escape(call["name"])}</code> <span class="badge" data-state="{state}">{word}</span>{took}'
    head += f' <span class="muted small">{escape(_glance(call["arguments"]))}</span>'
    if call["state"] == "running" and call.get("progress"):
        head += _progress(call["progress"])
    body = _shown("Arguments", _pretty(call["arguments"]))
    if call.get("error"):
        body += _shown("Error", str(call["error"]))
    if call.get("result"):
        body += _shown("Result", _pretty(call["result"]))
    card = f'<details class="tool-card" data-testid="tool-call" data-state="{call["state"]}"><summary>{head}</summary>{body}</details>'
    return card + _images(call) + _prompt(call)


def _images(call: dict[str, Any]) -> str:
    """Return the images that a tool returned. They stand below the card, so that they show while it is closed."""
    images: list[dict[str, Any]] = call.get("images") or []
    shown = [
        _image(image, _("Image %(n)s of %(all)s from %(tool)s") % {"n": number, "all": len(images), "tool": call["name"]})
        for number, image in enumerate(images, 1)
    ]
    return f'<div class="tool-images">{"".join(shown)}</div>' if shown else ""


def _image(image: dict[str, Any], label: str) -> str:
    url = escape(image["url"])
    return f'<a href="{url}" target="_blank" rel="noopener"><img src="{url}" alt="{escape(label)}" loading="lazy"></a>'


def _prompt(call: dict[str, Any]) -> str:
    """Return what a call asks the user: to approve it, with its arguments, or to answer its server."""
    if call["state"] == "asking":
        asked = _shown("Arguments", _pretty(call["arguments"])) + _question(call["id"], call.get("reason") or "acts")
    elif call["state"] == "input":
        asked = elicitation_form(call["id"], call["question"])
    else:
        return ""
    return f'<div class="tool-prompt">{asked}</div>'


def _question(call_id: str, reason: str) -> str:
    buttons = (
        '<button name="yes" value="1" data-kind="primary">Run it</button><button name="yes" value="">Decline</button>'
        '<input type="hidden" name="action" value="approve">'
    )
    buttons += f'<input type="hidden" name="call" value="{escape(call_id)}">'
    return f'<form class="row tool-question" hx-ws:send><span>{_REASONS[reason]}</span>{buttons}</form>'


def _progress(progress: dict[str, Any]) -> str:
    """Return a bar for a call that reports its progress; without a total it has no end."""
    done, total, message = progress["done"], progress.get("total"), str(progress.get("message") or "")
    known = f' value="{done:g}" max="{total:g}"' if total and total > 0 else ""
    label = escape(sanitize.text(message[:200]) or "Progress")
    return f'<progress{known} aria-label="{label}"></progress> <span class="muted small">{label}</span>'


def _shown(title: str, text: str) -> str:
    cut = text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + f"\n… {len(text) - SHOWN_CHARS:,} more characters"
    return f'<div class="tool-part"><div class="muted small">{title}</div><pre tabindex="0">{escape(cut, quote=False)}</pre></div>'


def _glance(arguments: Any) -> str:
    """Return the values of a call's arguments on one line: they tell one call from another."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    with contextlib.suppress(ValueError, RecursionError):  # broken JSON is shown as it is
        found = json.loads(text)
        text = ", ".join(map(str, found.values())) if isinstance(found, dict) else text
    return sanitize.text(" ".join(text[:400].split())[:100])


def _pretty(text: Any) -> str:
    """Return JSON with line breaks; anything else as it is."""
    if not isinstance(text, str):
        return json.dumps(text, ensure_ascii=False, indent=2)
    try:
        return sanitize.text(json.dumps(json.loads(text), ensure_ascii=False, indent=2))
    except (ValueError, RecursionError):
        return text
