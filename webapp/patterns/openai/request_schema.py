"""The types of the parameters that OpenAI's published schema names, as data, and the check of a request body against them.

The check refuses bodies of the wrong JSON types, since routing and counting read them. It is never stricter than the servers behind it:
fields that it does not know pass, and so does every value of the right type, since some server may take it.
"""

from __future__ import annotations

from typing import Any

from webapp.patterns.errors import InputError
from webapp.patterns.openai.json_rules import (
    Array,
    Boolean,
    Choice,
    Discriminated,
    Integer,
    Map,
    Nullable,
    Number,
    Object,
    OneOf,
    Rule,
    String,
)

# The server decides the destination and the key of a request, so a body that names them is refused.
RESERVED = ("api_base", "api_key", "base_url", "api_type", "api_version", "azure_endpoint")

STRINGS = Array(String(), least=1)
TOKEN_IDS = Array(Integer(0), least=1)
METADATA = Map(String(most=512), most=16, name_chars=64)
STOP = OneOf((String(), Array(String())))
STREAM_OPTIONS = Object({"include_usage": Boolean(), "include_obfuscation": Boolean()})
ANY_NUMBER = Number()
ANY_INTEGER = Integer()

PART = Discriminated(
    "type",
    {
        "text": Object({"text": String()}, required=("text",)),
        "image_url": Object(
            {"image_url": OneOf((String(), Object({"url": String(), "detail": String()}, required=("url",))))}, required=("image_url",)
        ),
        "input_audio": Object(
            {"input_audio": Object({"data": String(), "format": String()}, required=("data",))}, required=("input_audio",)
        ),
        "file": Object({"file": Object({"file_id": String(), "file_data": String(), "filename": String()})}, required=("file",)),
        "refusal": Object({"refusal": String()}, required=("refusal",)),
    },
    open=True,
)
CONTENT = Nullable(OneOf((String(), Array(PART))))
FUNCTION_CALL = Object({"name": String(), "arguments": String()}, required=("name", "arguments"))
TOOL_CALL = Discriminated(
    "type",
    {
        "function": Object({"id": String(), "function": FUNCTION_CALL}, required=("id", "function")),
        "custom": Object({"id": String(), "custom": Object({"name": String(), "input": String()})}, required=("id", "custom")),
    },
    open=True,
)
MESSAGE = Discriminated(
    "role",
    {
        "developer": Object({"content": CONTENT, "name": String()}, required=("content",)),
        "system": Object({"content": CONTENT, "name": String()}, required=("content",)),
        "user": Object({"content": CONTENT, "name": String()}, required=("content",)),
        "assistant": Object(
            {
                "content": CONTENT,
                "refusal": Nullable(String()),
                "name": String(),
                "tool_calls": Nullable(Array(TOOL_CALL)),
                "function_call": Nullable(FUNCTION_CALL),
            }
        ),
        "tool": Object({"content": CONTENT, "tool_call_id": String()}, required=("tool_call_id",)),
        "function": Object({"content": CONTENT, "name": String()}, required=("name",)),
    },
    open=True,
)
FUNCTION = Object(
    {"name": String(least=1), "description": Nullable(String()), "parameters": Nullable(Object()), "strict": Nullable(Boolean())},
    required=("name",),
)
TOOL = Discriminated("type", {"function": Object({"function": FUNCTION}, required=("function",))}, open=True)
TOOL_CHOICE = OneOf((String(), Object()))
JSON_SCHEMA = Object(
    {"name": String(least=1), "description": Nullable(String()), "schema": Object(), "strict": Nullable(Boolean())}, required=("name",)
)
RESPONSE_FORMAT = Discriminated(
    "type",
    {
        "text": Object(),
        "json_object": Object(),
        "json_schema": Object({"json_schema": JSON_SCHEMA}, required=("json_schema",)),
    },
    open=True,
)

SAMPLING: dict[str, Rule] = {
    "model": String(least=1),
    "frequency_penalty": ANY_NUMBER,
    "n": Integer(1),
    "presence_penalty": ANY_NUMBER,
    "seed": ANY_INTEGER,
    "stop": STOP,
    "stream": Boolean(),
    "stream_options": STREAM_OPTIONS,
    "temperature": ANY_NUMBER,
    "top_p": ANY_NUMBER,
}

CHAT = Object(
    {
        **SAMPLING,
        "messages": Array(MESSAGE, least=1),
        "functions": Array(FUNCTION),
        "function_call": OneOf((String(), Object())),
        "logprobs": OneOf((Boolean(), ANY_INTEGER)),
        "max_completion_tokens": ANY_INTEGER,
        "max_tokens": ANY_INTEGER,
        "metadata": Object(),
        "parallel_tool_calls": Boolean(),
        "reasoning_effort": String(),
        "response_format": RESPONSE_FORMAT,
        "tool_choice": TOOL_CHOICE,
        "tools": Array(TOOL),
        "top_logprobs": ANY_INTEGER,
    },
    required=("model", "messages"),
)
COMPLETION = Object(
    {
        **SAMPLING,
        "prompt": Nullable(OneOf((String(), STRINGS, TOKEN_IDS, Array(TOKEN_IDS, least=1)))),
        "best_of": ANY_INTEGER,
        "echo": Boolean(),
        "logprobs": OneOf((ANY_INTEGER, Boolean())),
        "max_tokens": ANY_INTEGER,
        "suffix": String(),
    },
    required=("model", "prompt"),
)
EMBEDDING = Object(
    {
        "model": String(least=1),
        "input": OneOf((String(least=1), STRINGS, TOKEN_IDS, Array(TOKEN_IDS, least=1))),
        "encoding_format": String(),
        "dimensions": Integer(1),
    },
    required=("model", "input"),
)
BATCH = Object(
    {
        "input_file_id": String(least=1),
        "endpoint": String(least=1),
        "completion_window": Choice(("24h",)),
        "metadata": METADATA,
        "output_expires_after": Nullable(Object({"anchor": Choice(("created_at",)), "seconds": Integer(3600, 2592000)})),
    },
    required=("input_file_id", "endpoint", "completion_window"),
)

MODERATION = Object({"model": String(least=1), "input": OneOf((String(), Array(OneOf((String(), Object())))))}, required=("model", "input"))
RERANK = Object(
    {
        "model": String(least=1),
        "query": OneOf((String(), Object())),
        "documents": Array(OneOf((String(), Object())), least=1),
        "top_n": Nullable(Integer(1)),
        "return_documents": Nullable(Boolean()),
    },
    required=("model", "query", "documents"),
)
SPEECH = Object({"model": String(least=1), "input": String(least=1), "stream_format": Nullable(String())}, required=("model", "input"))
IMAGE = Object({"model": String(least=1), "prompt": String(least=1), "stream": Nullable(Boolean())}, required=("model", "prompt"))

SCHEMAS = {
    "chat/completions": CHAT,
    "completions": COMPLETION,
    "embeddings": EMBEDDING,
    "batches": BATCH,
    "moderations": MODERATION,
    "rerank": RERANK,
    "audio/speech": SPEECH,
    "images/generations": IMAGE,
}


def check_body(body: Any, path: str) -> None:
    """Check the decoded JSON body of a POST to `path` ("chat/completions"); raises `InputError` with `param` and `code`."""
    check_object(body, SCHEMAS[path])


def check_object(body: Any, rule: Rule) -> None:
    """Check that a decoded body is an object that obeys the rule and does not say where the request goes. Raise as `check_body`."""
    if not isinstance(body, dict):
        raise InputError("The body must be a JSON object.", code="invalid_type")
    for name in RESERVED:
        if name in body:
            raise InputError(
                f"'{name}' may not be set in a request: an administrator configures where requests go.",
                param=name,
                code="unknown_parameter",
            )
    rule.check(body, "")
