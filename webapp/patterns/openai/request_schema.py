"""What OpenAI's published schema says about the parameters that it names, as data; and the check of a request body against it.

Only what is named here is checked. Fields that are not, a server's own extensions among them, pass as they came.
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

# Where a request goes and with which key is the server's business: a body that tries to say so is refused.
RESERVED = ("api_base", "api_key", "base_url", "api_type", "api_version", "azure_endpoint")

MAX_TOOLS = 128
MAX_STOPS = 4
MAX_EMBEDDING_INPUTS = 2048
INT64 = 2**63

STRINGS = Array(String(), least=1)
TOKEN_IDS = Array(Integer(0), least=1, most=MAX_EMBEDDING_INPUTS)
METADATA = Nullable(Map(String(most=512), most=16, name_chars=64))
STOP = Nullable(OneOf((String(), Array(String(), most=MAX_STOPS))))
LOGIT_BIAS = Nullable(Map(Number(-100, 100)))
SEED = Nullable(Integer(-INT64, INT64 - 1))
PENALTY = Nullable(Number(-2, 2))
STREAM_OPTIONS = Nullable(Object({"include_usage": Boolean(), "include_obfuscation": Boolean()}))

PART = Discriminated(
    "type",
    {
        "text": Object({"text": String()}, required=("text",)),
        "image_url": Object(
            {"image_url": Object({"url": String(), "detail": Choice(("auto", "low", "high"))}, required=("url",))}, required=("image_url",)
        ),
        "input_audio": Object(
            {"input_audio": Object({"data": String(), "format": String()}, required=("data",))}, required=("input_audio",)
        ),
        "file": Object({"file": Object({"file_id": String(), "file_data": String(), "filename": String()})}, required=("file",)),
        "refusal": Object({"refusal": String()}, required=("refusal",)),
    },
    open=True,
)
CONTENT = OneOf((String(), Array(PART)))
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
                "content": Nullable(CONTENT),
                "refusal": Nullable(String()),
                "name": String(),
                "tool_calls": Nullable(Array(TOOL_CALL)),
                "function_call": Nullable(FUNCTION_CALL),
            }
        ),
        "tool": Object({"content": CONTENT, "tool_call_id": String()}, required=("content", "tool_call_id")),
        "function": Object({"content": Nullable(CONTENT), "name": String()}, required=("content", "name")),
    },
)
FUNCTION = Object(
    {"name": String(least=1), "description": Nullable(String()), "parameters": Nullable(Object()), "strict": Nullable(Boolean())},
    required=("name",),
)
TOOL = Discriminated("type", {"function": Object({"function": FUNCTION}, required=("function",))}, open=True)
TOOL_CHOICE = OneOf((Choice(("none", "auto", "required")), Object({"type": String()}, required=("type",))))
JSON_SCHEMA = Object(
    {"name": String(least=1), "description": Nullable(String()), "schema": Object(), "strict": Nullable(Boolean())}, required=("name",)
)
RESPONSE_FORMAT = Discriminated(
    "type",
    {
        "text": Object(),
        "json_object": Object(),
        "json_schema": Object({"json_schema": JSON_SCHEMA}, required=("json_schema",)),
        "structural_tag": Object(),  # vLLM and SGLang
    },
)

SAMPLING: dict[str, Rule] = {
    "model": String(least=1),
    "frequency_penalty": PENALTY,
    "logit_bias": LOGIT_BIAS,
    "n": Nullable(Integer(1, 128)),
    "presence_penalty": PENALTY,
    "seed": SEED,
    "stop": STOP,
    "stream": Nullable(Boolean()),
    "stream_options": STREAM_OPTIONS,
    "temperature": Nullable(Number(0, 2)),
    "top_p": Nullable(Number(0, 1)),
    "user": String(),
}

CHAT = Object(
    {
        **SAMPLING,
        "messages": Array(MESSAGE, least=1),
        "audio": Nullable(Object()),
        "functions": Array(FUNCTION, least=1, most=MAX_TOOLS),
        "function_call": OneOf((Choice(("none", "auto")), Object({"name": String()}, required=("name",)))),
        "logprobs": Nullable(Boolean()),
        "max_completion_tokens": Nullable(Integer(1)),
        "max_tokens": Nullable(Integer(1)),
        "metadata": METADATA,
        "modalities": Nullable(Array(String())),
        "parallel_tool_calls": Boolean(),
        "prediction": Nullable(Object()),
        "prompt_cache_key": Nullable(String()),
        "reasoning_effort": Nullable(Choice(("none", "minimal", "low", "medium", "high", "xhigh"))),
        "response_format": RESPONSE_FORMAT,
        "safety_identifier": Nullable(String()),
        "service_tier": Nullable(String()),
        "store": Nullable(Boolean()),
        "tool_choice": TOOL_CHOICE,
        "tools": Array(TOOL, most=MAX_TOOLS),
        "top_logprobs": Nullable(Integer(0, 20)),
        "verbosity": Nullable(Choice(("low", "medium", "high"))),
        "web_search_options": Object(),
    },
    required=("model", "messages"),
)
COMPLETION = Object(
    {
        **SAMPLING,
        "prompt": Nullable(OneOf((String(), STRINGS, TOKEN_IDS, Array(TOKEN_IDS, least=1)))),
        "best_of": Nullable(Integer(0, 20)),
        "echo": Nullable(Boolean()),
        "logprobs": Nullable(Integer(0, 5)),
        "max_tokens": Nullable(Integer(0)),
        "suffix": Nullable(String()),
    },
    required=("model", "prompt"),
)
EMBEDDING = Object(
    {
        "model": String(least=1),
        "input": OneOf(
            (
                String(least=1),
                Array(String(least=1), least=1, most=MAX_EMBEDDING_INPUTS),
                TOKEN_IDS,
                Array(TOKEN_IDS, least=1, most=MAX_EMBEDDING_INPUTS),
            )
        ),
        "encoding_format": Choice(("float", "base64")),
        "dimensions": Integer(1),
        "user": String(),
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

SCHEMAS = {"chat/completions": CHAT, "completions": COMPLETION, "embeddings": EMBEDDING, "batches": BATCH}


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
