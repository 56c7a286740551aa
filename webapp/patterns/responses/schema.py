"""Rules for the bodies of Responses and Conversations requests. Fields that are not named here pass as they came."""

from __future__ import annotations

from typing import Final

from webapp.patterns.openai.attribute_filters import FilterRule
from webapp.patterns.openai.json_rules import Array, Boolean, Choice, Discriminated, Integer, Nullable, Number, Object, OneOf, String
from webapp.patterns.openai.request_schema import METADATA
from webapp.patterns.openai.vector_store_schema import MAX_RESULTS, RANKING

ITEM: Final = Object({"type": Nullable(String()), "id": Nullable(String())})
INPUT: Final = Nullable(OneOf((String(), Array(ITEM))))
CONVERSATION: Final = Nullable(OneOf((String(least=1), Object({"id": String(least=1)}, required=("id",)))))
TOOL: Final = Discriminated(
    "type",
    {
        "function": Object(
            {"name": String(least=1), "description": Nullable(String()), "parameters": Nullable(Object()), "strict": Nullable(Boolean())},
            required=("name",),
        ),
        "custom": Object({"name": String(least=1), "format": Nullable(Object())}, required=("name",)),
        "namespace": Object({"name": String(least=1), "tools": Array(Object())}, required=("name", "tools")),
        "file_search": Object(
            {
                "vector_store_ids": Array(String()),
                "max_num_results": Nullable(Integer(1, MAX_RESULTS)),
                "filters": Nullable(FilterRule()),
                "ranking_options": RANKING,
            }
        ),
        "mcp": Object({"server_label": String(least=1), "server_url": Nullable(String())}, required=("server_label",)),
    },
    open=True,
)
FORMAT: Final = Discriminated(
    "type",
    {
        "text": Object(),
        "json_object": Object(),
        "json_schema": Object({"name": String(least=1), "schema": Object(), "strict": Nullable(Boolean())}, required=("name", "schema")),
    },
    open=True,
)
_ASKED: Final = {
    "model": Nullable(String(least=1)),
    "input": INPUT,
    "instructions": Nullable(OneOf((String(), Array(ITEM)))),
    "previous_response_id": Nullable(String(least=1)),
    "conversation": CONVERSATION,
    "parallel_tool_calls": Nullable(Boolean()),
    "reasoning": Nullable(Object({"effort": Nullable(String()), "summary": Nullable(String())})),
    "text": Nullable(Object({"format": Nullable(FORMAT), "verbosity": Nullable(String())})),
    "tool_choice": Nullable(OneOf((Choice(("none", "auto", "required")), Object({"type": String()}, required=("type",))))),
    "tools": Nullable(Array(TOOL)),
    "truncation": Nullable(Choice(("auto", "disabled"))),
}
RESPONSE: Final = Object(
    {
        **_ASKED,
        "background": Nullable(Boolean()),
        "include": Nullable(Array(String())),
        "max_output_tokens": Nullable(Integer(1)),
        "max_tool_calls": Nullable(Integer(0)),
        "metadata": METADATA,
        "store": Nullable(Boolean()),
        "stream": Nullable(Boolean()),
        "stream_options": Nullable(Object({"include_obfuscation": Nullable(Boolean())})),
        "temperature": Nullable(Number(0, 2)),
        "top_logprobs": Nullable(Integer(0, 20)),
        "top_p": Nullable(Number(0, 1)),
        "prompt": Nullable(Object()),
        "user": Nullable(String()),
    }
)
INPUT_TOKENS: Final = Object(_ASKED)
COMPACT: Final = Object({name: _ASKED[name] for name in ("model", "input", "instructions", "previous_response_id")})
MAX_ITEMS: Final = 20
"""Items that one request may add to a conversation."""
NEW_CONVERSATION: Final = Object({"items": Nullable(Array(ITEM, most=MAX_ITEMS)), "metadata": METADATA})
CONVERSATION_UPDATE: Final = Object({"metadata": METADATA}, required=("metadata",))
NEW_ITEMS: Final = Object({"items": Array(ITEM, most=MAX_ITEMS)}, required=("items",))
