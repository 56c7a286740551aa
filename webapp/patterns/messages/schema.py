"""Check the body of a Messages request against Anthropic's published schema.

Only the fields that the translation reads are checked. Unknown fields, unknown block types and beta features pass.
Source: the types of Anthropic's Python package, version 2.14.
"""

from __future__ import annotations

from typing import Any, Final

from webapp.patterns.openai.json_rules import Array, Boolean, Choice, Discriminated, Integer, Nullable, Number, Object, OneOf, Rule, String
from webapp.patterns.openai.request_schema import check_object

_SOURCE: Final = Object(
    {"type": String(), "data": String(), "media_type": String(), "url": String(), "file_id": String()}, required=("type",)
)
_TEXT: Final = Object({"text": String()}, required=("text",))
_CONTENT_OF_RESULT: Final = OneOf((String(), Array(Object({"type": String()}, required=("type",)))))
_BLOCK: Final = Discriminated(
    "type",
    {
        "text": _TEXT,
        "image": Object({"source": _SOURCE}, required=("source",)),
        "document": Object({"source": _SOURCE, "title": Nullable(String()), "context": Nullable(String())}, required=("source",)),
        "tool_use": Object({"id": String(), "name": String(), "input": Object()}, required=("id", "name", "input")),
        "tool_result": Object(
            {"tool_use_id": String(), "content": Nullable(_CONTENT_OF_RESULT), "is_error": Nullable(Boolean())}, required=("tool_use_id",)
        ),
        "thinking": Object({"thinking": String()}, required=("thinking",)),
        "search_result": Object({"content": Array(_TEXT), "source": String(), "title": String()}, required=("content",)),
    },
    open=True,
)
_CONTENT: Final = OneOf((String(), Array(_BLOCK)))
_MESSAGE: Final = Object({"role": Choice(("user", "assistant", "system")), "content": _CONTENT}, required=("role", "content"))
_TOOL: Final = Object({"name": String(least=1), "description": Nullable(String()), "input_schema": Object(), "type": Nullable(String())})
_TOOL_CHOICE: Final = Discriminated(
    "type",
    {"auto": Object(), "any": Object(), "none": Object(), "tool": Object({"name": String(least=1)}, required=("name",))},
)
_PROMPT: Final[dict[str, Rule]] = {
    "model": String(least=1),
    "messages": Array(_MESSAGE, least=1),
    "system": Nullable(OneOf((String(), Array(Discriminated("type", {"text": _TEXT}, open=True))))),
    "tools": Nullable(Array(_TOOL)),
    "tool_choice": Nullable(_TOOL_CHOICE),
    "thinking": Nullable(Object({"type": String(), "budget_tokens": Nullable(Integer(0))}, required=("type",))),
    "output_config": Nullable(Object({"effort": Nullable(String()), "format": Nullable(Object())})),
}
_REQUEST: Final = Object(
    {
        **_PROMPT,
        "max_tokens": Integer(0),
        "stop_sequences": Nullable(Array(String())),
        "stream": Nullable(Boolean()),
        "temperature": Nullable(Number()),
        "top_p": Nullable(Number()),
        "top_k": Nullable(Number()),
    },
    required=("model", "max_tokens", "messages"),
)
_COUNT: Final = Object(_PROMPT, required=("model", "messages"))


def check_request(body: Any) -> None:
    """Check the body of `POST messages`.

    Raises:
        InputError: a required field is missing, or a field has the wrong type; `param` names it.
    """
    check_object(body, _REQUEST)


def check_count(body: Any) -> None:
    """Check the body of `POST messages/count_tokens`. Raise as `check_request`."""
    check_object(body, _COUNT)
