"""Let other apps open a conversation of theirs in the chat. The chat registers itself in `AppConfig.ready()`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from webapp.accounts.models import User


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """A question or an answer, as plain Markdown; `model` wrote it."""

    role: Literal["user", "assistant"]
    text: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class ChatDraft:
    """A conversation to open in the chat. `source` names it: opened again, it is the same conversation."""

    source: str
    title: str
    turns: Sequence[ChatTurn]
    system_prompt: str = ""
    model: str = ""


OpenChat = Callable[[User, ChatDraft], str]
"""Make a conversation of the user's from the draft and return the address of its page."""


class _Registered:
    open_chat: OpenChat | None = None


def register(open_chat: OpenChat) -> None:
    """Open conversations by `open_chat`."""
    _Registered.open_chat = staticmethod(open_chat)


def opener() -> OpenChat | None:
    """Return the registered function; None where there is no chat."""
    return _Registered.open_chat
