"""Parts of the chat page as HTML, for the page and for the websocket."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from chat import selectors
from chat.html.answer_html import finished_html, frame, key
from chat.models import Conversation, Message
from webapp.rendering.markdown import render

LOG = "#chat-log"


def article(turn: selectors.Turn, *, body: str | None = None, note: str = "") -> str:
    """Return one message. `body` is the live HTML of an answer that is being written."""
    message = turn.message
    if message.role == Message.Role.USER:
        context = {"message": message, "turn": turn, "key": key(message.id), "body": question_html(message)}
        return render_to_string("chat/_question.html", context)
    if body is None:
        body = message.html or finished_html(message.id, message.parts)
    context = {
        "message": message,
        "turn": turn,
        "key": key(message.id),
        "body": body,
        "note": note,
        **trail(message.trail),
        **tool_time(message.parts),
    }
    return render_to_string("chat/_answer.html", context)


def question_html(message: Message) -> SafeString:
    """Return a question as HTML: Markdown, as in the answer."""
    return mark_safe(render(message.text, anchor=key(message.id)))  # noqa: S308 - rendered by the sanitizer


def trail(attempts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the context of the attempt trail: the backend that answered, its speed and cost, and the attempts that failed."""
    served = next((a for a in reversed(attempts) if a["outcome"] not in {"failed", "skipped"}), None)
    costs = [a["cost"] for a in attempts if a.get("cost") is not None]
    tokens = sum(a.get("completion_tokens") or 0 for a in attempts)
    return {
        "attempts": attempts,
        "served": served,
        "failures": sum(a["outcome"] in {"failed", "skipped"} for a in attempts),
        "cost": math.fsum(costs) if costs else None,
        "tokens": tokens,
        "speed": _speed(served),
    }


def tool_time(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the number of an answer's tool calls, and their time together in milliseconds."""
    calls = [part for part in parts if part["kind"] == "tool" and part.get("ms") is not None]
    return {"tool_calls": len(calls), "tool_ms": sum(call["ms"] for call in calls)}


def _speed(attempt: dict[str, Any] | None) -> float | None:
    """Return tokens per second after the first token; None where the attempt does not tell."""
    if not attempt or not attempt.get("completion_tokens") or not attempt.get("duration_ms"):
        return None
    seconds = (attempt["duration_ms"] - (attempt.get("first_token_ms") or 0)) / 1000
    return attempt["completion_tokens"] / seconds if seconds > 0.05 else None


def note_frame(message_id: UUID, note: str) -> str:
    """Return a frame for the line below an answer that says which backend is being tried."""
    return frame(render_to_string("chat/_note.html", {"note": note, "key": key(message_id)}), f"#n-{key(message_id)}", "outerMorph")


def group(turn: selectors.Turn, draw: Callable[[selectors.Turn], str]) -> str:
    """Return a turn as `draw` draws it; the answers of a comparison stand side by side."""
    if not turn.beside:
        return draw(turn)
    columns = "".join(draw(each) for each in (turn, *(selectors.Turn(message) for message in turn.beside)))
    return f'<div class="compare" data-testid="compare" id="compare-{key(turn.message.id)}">{columns}</div>'


def log(page: selectors.Page, conversation: Conversation) -> SafeString:
    """Return a page of whole messages, between the sentinels that load others when they scroll into view."""
    turns = "".join(group(turn, article) for turn in page.turns)
    return mark_safe(earlier(page, conversation) + turns + later(page, conversation))  # noqa: S308 - rendered by templates


def earlier(page: selectors.Page, conversation: Conversation) -> str:
    """Return the sentinel that loads earlier messages; empty where there are none."""
    return render_to_string("chat/_earlier.html", {"earlier": page.earlier, "conversation": conversation}) if page.earlier else ""


def later(page: selectors.Page, conversation: Conversation) -> str:
    """Return the sentinel that loads later messages, up to the present end of the branch; empty where there are none."""
    return render_to_string("chat/_later.html", {"later": page.later, "conversation": conversation}) if page.later else ""


def notice(text: str) -> str:
    """Return a frame that tells the user why something was not done."""
    return frame(render_to_string("chat/_notice.html", {"text": text}), "#chat-notice", "innerHTML")


def sent(text: str) -> str:
    """Return a frame that clears the notice and confirms to the page that the server has the question."""
    return json.dumps({"content": "", "target": "#chat-notice", "swap": "innerHTML", "sent": text}, ensure_ascii=False)


def stamp(conversation: Conversation) -> str:
    """Return a name for the state of a conversation: a page that has it does not need it again."""
    return f"{conversation.updated_at.timestamp():.6f}" if conversation.updated_at else "new"


def frames_of_title(conversation: Conversation, folders: list[str]) -> list[str]:
    """Return frames that bring the title and its entry in the list up to date."""
    title = render_to_string("chat/_title.html", {"conversation": conversation, "folders": folders})
    return [frame(title, "#chat-head", "innerMorph"), frame(_entry(conversation), f"#c-{conversation.id.hex}", "outerMorph")]


def frames_of_new(conversation: Conversation) -> list[str]:
    """Return frames for a new conversation: its title, and its entry at the head of the list."""
    title = render_to_string("chat/_title.html", {"conversation": conversation})
    return [frame(title, "#chat-head", "innerMorph"), frame(_entry(conversation), "#conversation-new", "afterbegin")]


def frames_of_name(conversation: Conversation) -> list[str]:
    """Return frames for a new title: the heading, the field that renames, and the entry in the list."""
    context = {"conversation": conversation}
    return [
        frame(render_to_string("chat/_name.html", context), "#chat-title", "outerMorph"),
        frame(render_to_string("chat/_rename_field.html", context), "#rename", "outerMorph"),
        frame(_entry(conversation), f"#c-{conversation.id.hex}", "outerMorph"),
    ]


def _entry(conversation: Conversation) -> str:
    return render_to_string("chat/_conversation.html", {"conversation": conversation, "current": conversation.id})
