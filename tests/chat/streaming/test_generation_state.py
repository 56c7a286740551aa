"""A generation as its process sees it."""

from __future__ import annotations

import asyncio
import threading
import uuid
from typing import Any

from chat.html.answer_html import AnswerView
from chat.streaming.generation_state import GenerationState


class Stumbling:
    """A view whose first render is a long one, and fails."""

    heavy, size, due = True, 1, 0.0

    def __init__(self, view: AnswerView) -> None:
        self.view = view
        self.go = threading.Event()

    def on(self, event: dict[str, Any]) -> None:
        self.view.on(event)

    def update(self) -> None:
        self.go.wait()
        self.heavy = False
        raise ValueError("a block that cannot be rendered")


async def test_what_came_during_a_render_that_failed_is_not_lost() -> None:
    live = GenerationState(generation_id=uuid.uuid4(), message_id=uuid.uuid4(), conversation_id=uuid.uuid4(), mine=False, base=[])
    view = Stumbling(live.view)
    live.view = view  # type: ignore[assignment]  # as much of a view as this needs
    live.apply({"k": "text", "d": "one "})
    render = live._render
    assert render
    live.apply({"k": "text", "d": "two"})
    view.go.set()
    await asyncio.wait({render})
    assert isinstance(render.exception(), ValueError)
    assert live.answer.text == "one two"
