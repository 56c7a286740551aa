"""Check the body of a Messages request against Anthropic's published schema.

Only the fields that the translation reads are checked. Unknown fields, unknown block types and beta features pass.
Source: the types of Anthropic's Python package, version 2.14.
"""

from __future__ import annotations

from typing import Any, Final

from webapp.patterns.rules import Array, Choice, Flag, Integer, Nullable, Number, Object, OneOf, Rule, Tagged, Text
from webapp.patterns.schema import check_object

_SOURCE: Final = Object({"type": Text(), "data": Text(), "media_type": Text(), "url": Text(), "file_id": Text()}, required=("type",))
_TEXT: Final = Object({"text": Text()}, required=("text",))
_CONTENT_OF_RESULT: Final = OneOf((Text(), Array(Object({"type": Text()}, required=("type",)))))
_BLOCK: Final = Tagged(
    "type",
    {
        "text": _TEXT,
        "image": Object({"source": _SOURCE}, required=("source",)),
        "document": Object({"source": _SOURCE, "title": Nullable(Text()), "context": Nullable(Text())}, required=("source",)),
        "tool_use": Object({"id": Text(), "name": Text(), "input": Object()}, required=("id", "name", "input")),
        "tool_result": Object(
            {"tool_use_id": Text(), "content": Nullable(_CONTENT_OF_RESULT), "is_error": Nullable(Flag())}, required=("tool_use_id",)
        ),
        "thinking": Object({"thinking": Text()}, required=("thinking",)),
        "search_result": Object({"content": Array(_TEXT), "source": Text(), "title": Text()}, required=("content",)),
    },
    open=True,
)
_CONTENT: Final = OneOf((Text(), Array(_BLOCK)))
_MESSAGE: Final = Object({"role": Choice(("user", "assistant", "system")), "content": _CONTENT}, required=("role", "content"))
_TOOL: Final = Object({"name": Text(least=1), "description": Nullable(Text()), "input_schema": Object(), "type": Nullable(Text())})
_TOOL_CHOICE: Final = Tagged(
    "type",
    {"auto": Object(), "any": Object(), "none": Object(), "tool": Object({"name": Text(least=1)}, required=("name",))},
)
_PROMPT: Final[dict[str, Rule]] = {
    "model": Text(least=1),
    "messages": Array(_MESSAGE, least=1),
    "system": Nullable(OneOf((Text(), Array(Tagged("type", {"text": _TEXT}, open=True))))),
    "tools": Nullable(Array(_TOOL)),
    "tool_choice": Nullable(_TOOL_CHOICE),
    "thinking": Nullable(Object({"type": Text(), "budget_tokens": Nullable(Integer(0))}, required=("type",))),
    "output_config": Nullable(Object({"effort": Nullable(Text()), "format": Nullable(Object())})),
}
_REQUEST: Final = Object(
    {
        **_PROMPT,
        "max_tokens": Integer(0),
        "stop_sequences": Nullable(Array(Text())),
        "stream": Nullable(Flag()),
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
