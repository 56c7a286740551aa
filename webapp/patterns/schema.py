"""What OpenAI's published schema says about the parameters that it names, as data; and the check of a request body against it.

Only what is named here is checked. Fields that are not, a server's own extensions among them, pass as they came.
"""

from __future__ import annotations

from typing import Any

from webapp.patterns.errors import InputError
from webapp.patterns.rules import Array, Choice, Flag, Integer, Mapped, Nullable, Number, Object, OneOf, Rule, Tagged, Text

# Where a request goes and with which key is the server's business: a body that tries to say so is refused.
RESERVED = ("api_base", "api_key", "base_url", "api_type", "api_version", "azure_endpoint")

MAX_TOOLS = 128
MAX_STOPS = 4
MAX_EMBEDDING_INPUTS = 2048
INT64 = 2**63

STRINGS = Array(Text(), least=1)
TOKEN_IDS = Array(Integer(0), least=1, most=MAX_EMBEDDING_INPUTS)
METADATA = Nullable(Mapped(Text(most=512), most=16, name_chars=64))
STOP = Nullable(OneOf((Text(), Array(Text(), most=MAX_STOPS))))
LOGIT_BIAS = Nullable(Mapped(Number(-100, 100)))
SEED = Nullable(Integer(-INT64, INT64 - 1))
PENALTY = Nullable(Number(-2, 2))
STREAM_OPTIONS = Nullable(Object({"include_usage": Flag(), "include_obfuscation": Flag()}))

PART = Tagged(
    "type",
    {
        "text": Object({"text": Text()}, required=("text",)),
        "image_url": Object(
            {"image_url": Object({"url": Text(), "detail": Choice(("auto", "low", "high"))}, required=("url",))}, required=("image_url",)
        ),
        "input_audio": Object({"input_audio": Object({"data": Text(), "format": Text()}, required=("data",))}, required=("input_audio",)),
        "file": Object({"file": Object({"file_id": Text(), "file_data": Text(), "filename": Text()})}, required=("file",)),
        "refusal": Object({"refusal": Text()}, required=("refusal",)),
    },
    open=True,
)
CONTENT = OneOf((Text(), Array(PART)))
FUNCTION_CALL = Object({"name": Text(), "arguments": Text()}, required=("name", "arguments"))
TOOL_CALL = Tagged(
    "type",
    {
        "function": Object({"id": Text(), "function": FUNCTION_CALL}, required=("id", "function")),
        "custom": Object({"id": Text(), "custom": Object({"name": Text(), "input": Text()})}, required=("id", "custom")),
    },
    open=True,
)
MESSAGE = Tagged(
    "role",
    {
        "developer": Object({"content": CONTENT, "name": Text()}, required=("content",)),
        "system": Object({"content": CONTENT, "name": Text()}, required=("content",)),
        "user": Object({"content": CONTENT, "name": Text()}, required=("content",)),
        "assistant": Object(
            {
                "content": Nullable(CONTENT),
                "refusal": Nullable(Text()),
                "name": Text(),
                "tool_calls": Nullable(Array(TOOL_CALL)),
                "function_call": Nullable(FUNCTION_CALL),
            }
        ),
        "tool": Object({"content": CONTENT, "tool_call_id": Text()}, required=("content", "tool_call_id")),
        "function": Object({"content": Nullable(CONTENT), "name": Text()}, required=("content", "name")),
    },
)
FUNCTION = Object(
    {"name": Text(least=1), "description": Nullable(Text()), "parameters": Nullable(Object()), "strict": Nullable(Flag())},
    required=("name",),
)
TOOL = Tagged("type", {"function": Object({"function": FUNCTION}, required=("function",))}, open=True)
TOOL_CHOICE = OneOf((Choice(("none", "auto", "required")), Object({"type": Text()}, required=("type",))))
JSON_SCHEMA = Object(
    {"name": Text(least=1), "description": Nullable(Text()), "schema": Object(), "strict": Nullable(Flag())}, required=("name",)
)
RESPONSE_FORMAT = Tagged(
    "type",
    {
        "text": Object(),
        "json_object": Object(),
        "json_schema": Object({"json_schema": JSON_SCHEMA}, required=("json_schema",)),
        "structural_tag": Object(),  # vLLM and SGLang
    },
)

SAMPLING: dict[str, Rule] = {
    "model": Text(least=1),
    "frequency_penalty": PENALTY,
    "logit_bias": LOGIT_BIAS,
    "n": Nullable(Integer(1, 128)),
    "presence_penalty": PENALTY,
    "seed": SEED,
    "stop": STOP,
    "stream": Nullable(Flag()),
    "stream_options": STREAM_OPTIONS,
    "temperature": Nullable(Number(0, 2)),
    "top_p": Nullable(Number(0, 1)),
    "user": Text(),
}

CHAT = Object(
    {
        **SAMPLING,
        "messages": Array(MESSAGE, least=1),
        "audio": Nullable(Object()),
        "functions": Array(FUNCTION, least=1, most=MAX_TOOLS),
        "function_call": OneOf((Choice(("none", "auto")), Object({"name": Text()}, required=("name",)))),
        "logprobs": Nullable(Flag()),
        "max_completion_tokens": Nullable(Integer(1)),
        "max_tokens": Nullable(Integer(1)),
        "metadata": METADATA,
        "modalities": Nullable(Array(Text())),
        "parallel_tool_calls": Flag(),
        "prediction": Nullable(Object()),
        "prompt_cache_key": Nullable(Text()),
        "reasoning_effort": Nullable(Choice(("none", "minimal", "low", "medium", "high", "xhigh"))),
        "response_format": RESPONSE_FORMAT,
        "safety_identifier": Nullable(Text()),
        "service_tier": Nullable(Text()),
        "store": Nullable(Flag()),
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
        "prompt": Nullable(OneOf((Text(), STRINGS, TOKEN_IDS, Array(TOKEN_IDS, least=1)))),
        "best_of": Nullable(Integer(0, 20)),
        "echo": Nullable(Flag()),
        "logprobs": Nullable(Integer(0, 5)),
        "max_tokens": Nullable(Integer(0)),
        "suffix": Nullable(Text()),
    },
    required=("model", "prompt"),
)
EMBEDDING = Object(
    {
        "model": Text(least=1),
        "input": OneOf(
            (
                Text(least=1),
                Array(Text(least=1), least=1, most=MAX_EMBEDDING_INPUTS),
                TOKEN_IDS,
                Array(TOKEN_IDS, least=1, most=MAX_EMBEDDING_INPUTS),
            )
        ),
        "encoding_format": Choice(("float", "base64")),
        "dimensions": Integer(1),
        "user": Text(),
    },
    required=("model", "input"),
)
BATCH = Object(
    {
        "input_file_id": Text(least=1),
        "endpoint": Text(least=1),
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
