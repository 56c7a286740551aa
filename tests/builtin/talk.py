"""Talking to the built-in backend with the openai package."""

from __future__ import annotations

from typing import Any

import openai
from openai.types.chat import ChatCompletion

MODEL = "patchbay-builtin"
REPORT = (
    "Patchbay is a console for model servers. It was made by a small team in 2025. The console streams answers over a websocket. "
    "Every answer passes through a chain of backends. When a backend fails, the next backend in the chain answers. "
    "Batches run on any backend. Search finds passages in documents. The weather was nice. Lunch was served at noon."
)
SEARCH: Any = {
    "type": "function",
    "function": {
        "name": "search_documents",
        "description": "Find passages.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}
CALCULATOR: Any = {
    "type": "function",
    "function": {
        "name": "calculator",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
    },
}


async def say(client: openai.AsyncOpenAI, text: str, **options: Any) -> ChatCompletion:
    answer: ChatCompletion = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], **options)
    return answer


async def text_of(client: openai.AsyncOpenAI, text: str, **options: Any) -> str:
    return (await say(client, text, **options)).choices[0].message.content or ""
