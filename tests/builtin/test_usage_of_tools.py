"""The built-in backend's usage counts the tools of a request."""

from __future__ import annotations

from webapp.builtin.catalog import CHAT_MODEL
from webapp.builtin.protocol import read_chat

BODY = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "What is 17 × 23?"}]}
TOOL = {"type": "function", "function": {"name": "f", "description": "word " * 500, "parameters": {"type": "object"}}}


def test_tools_count_in_the_prompt() -> None:
    assert read_chat({**BODY, "tools": [TOOL]}).prompt_tokens > read_chat(BODY).prompt_tokens + 500


def test_a_limit_of_minus_one_is_none() -> None:
    assert read_chat({**BODY, "max_tokens": -1}).options.max_tokens is None
    assert read_chat({**BODY, "max_completion_tokens": 7}).options.max_tokens == 7
