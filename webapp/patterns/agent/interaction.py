"""Let a running tool report progress to the user and ask questions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from webapp.patterns.types import Json


@dataclass(frozen=True, slots=True)
class Question:
    """A question to the user in the middle of a call.

    Attributes:
        schema: the JSON schema of the answer, an object with flat properties; empty where the user is sent to `url`.
        url: an address that the user is asked to visit.
    """

    message: str
    schema: Json = field(default_factory=dict)
    url: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The user's answer to a `Question`. `content` fits the question's schema where the action is "accept"."""

    action: Literal["accept", "decline", "cancel"]
    content: Json | None = None


Ask = Callable[[Question], Awaitable[Answer]]
Report = Callable[[float, float | None, str], Awaitable[None]]
"""(progress, total, message) of a running call."""
