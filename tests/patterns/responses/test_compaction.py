"""Conversations shortened to one item."""

from __future__ import annotations

import pytest

from tests.patterns.responses.events import ScriptedBackend, request_of, whole
from webapp.patterns.errors import BadAnswer
from webapp.patterns.responses.compaction import PROMPT, compact
from webapp.patterns.responses.items import messages_from, normalize_input
from webapp.patterns.responses.tools import ToolSet
from webapp.patterns.types import AttemptLog

HISTORY = normalize_input([{"role": "user", "content": "one"}, {"role": "assistant", "content": "a long answer"}])


async def test_the_users_messages_stay_and_the_rest_is_summarized() -> None:
    backend = ScriptedBackend(whole("They said one."))
    made = await compact(backend, request_of(HISTORY, input="two"), trail=AttemptLog())
    [item] = made["output"]
    assert item["type"] == "compaction"
    assert item["encrypted_content"] == "The user said: one\nThe user said: two\nThey said one."
    assert made["usage"]["total_tokens"] == 7
    assert backend.requests[0].messages[-1]["content"] == PROMPT
    again = messages_from(made["output"], instructions=None, tools=ToolSet())
    assert "They said one." in again[-1]["content"]


async def test_an_empty_summary_is_refused() -> None:
    with pytest.raises(BadAnswer):
        await compact(ScriptedBackend(whole("")), request_of(HISTORY), trail=AttemptLog())
