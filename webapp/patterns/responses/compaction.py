"""Shorten a conversation of items to one: the user's messages word for word, and a summary of the rest by the model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from webapp.patterns.backend import Backend
from webapp.patterns.errors import BadAnswer
from webapp.patterns.openai.decoder import read_usage
from webapp.patterns.responses.content import text_of
from webapp.patterns.responses.objects import new_id, usage_json
from webapp.patterns.responses.request import ResponsesRequest, to_chat
from webapp.patterns.responses.tools import ToolSet
from webapp.patterns.types import AttemptLog, Json, Request, Usage

PROMPT: Final = (
    "Summarize this conversation for the assistant who goes on with it. Keep what it needs: the task, decisions, names, numbers, files, "
    "results of tools, open questions and next steps. Write plain text. Do not answer the conversation."
)
MAX_SUMMARY_TOKENS: Final = 2000


async def compact(backend: Backend, asked: ResponsesRequest, *, trail: AttemptLog) -> Json:
    """Return the `response.compaction` object of a conversation.

    Its output is the input of the next request: one `compaction` item, since the schema has no messages of users in an output. Its
    `encrypted_content` is plain text, which every backend can read.

    Args:
        backend: writes the summary.
        asked: the request; its instructions and items are summarized.
        trail: takes the attempts.

    Raises:
        PatternError: no backend answered, or with nothing.
    """
    chat = to_chat(asked, ToolSet())
    request = Request({**chat, "messages": [*chat["messages"], {"role": "user", "content": PROMPT}], "max_tokens": MAX_SUMMARY_TOKENS})
    answer = await backend.send(request, trail=trail)
    if not answer.text:
        raise BadAnswer("The model wrote no summary.")
    text = "\n".join([*(f"The user said: {text}" for text in _user_texts(asked.items)), answer.text])
    item = {"id": new_id("cmp_"), "type": "compaction", "encrypted_content": text}
    return {
        "id": new_id("resp_"),
        "object": "response.compaction",
        "created_at": int(time.time()),
        "output": [item],
        "usage": usage_json(read_usage(answer.body) or Usage()),
    }


def _user_texts(items: Sequence[Json]) -> list[str]:
    messages = [item for item in items if item["type"] == "message" and item["role"] == "user"]
    return [text for item in messages if (text := text_of(item["content"]).strip())]
