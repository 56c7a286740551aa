"""A request of the Responses protocol as one for chat completions, and as one for a server that speaks Responses itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from webapp.patterns.errors import InputError
from webapp.patterns.responses.items import messages_from
from webapp.patterns.responses.tools import IGNORED, ToolSet
from webapp.patterns.types import Json, Native, Request

PROTOCOL: Final = "responses"
OURS: Final = frozenset(
    {"background", "background_options", "conversation", "previous_response_id", "prompt", "store", "stream", "stream_options"}
)
"""Parameters about state and delivery. Patchbay does this itself: a backend gets the whole conversation and keeps nothing."""
_SAME: Final = ("temperature", "top_p", "user")
_ONLY_RESPONSES: Final = OURS | frozenset(
    {
        "access_programs", "client_metadata", "context_management", "image", "include", "input", "instructions", "max_output_tokens",
        "max_tool_calls", "metadata", "moderation", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "text", "tool_choice", "tools", "top_logprobs",
        "truncation", "personality",
    }
)  # fmt: skip
"""Parameters that chat completions do not have, or have in another form. Any other one is passed on: servers have extensions."""


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    """A request that is ready to run.

    Attributes:
        body: as the caller wrote it.
        history: the items before this request's own: of the previous responses, or of the conversation.
        input: this request's own items, in full form.
    """

    body: Json
    history: Sequence[Json]
    input: Sequence[Json]

    @property
    def items(self) -> list[Json]:
        """Return the whole conversation, oldest first."""
        return [*self.history, *self.input]

    @property
    def includes(self) -> frozenset[str]:
        """Return the further output that the caller asked for."""
        return frozenset(self.body.get("include") or ())

    @property
    def wants_summary(self) -> bool:
        """Return whether the caller asked for summaries of reasoning."""
        reasoning = self.body.get("reasoning") or {}
        return bool(reasoning.get("summary") or reasoning.get("generate_summary"))


def check_tool_choice(body: Mapping[str, Any]) -> None:
    """Refuse a request that insists on a tool which no route can run.

    Raises:
        InputError: it names one of `tools.IGNORED`.
    """
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") in IGNORED:
        raise InputError(
            f"The tool '{choice['type']}' is not available here, so it cannot be required.",
            param="tool_choice",
            code="unsupported_parameter",
        )


def to_request(asked: ResponsesRequest, tools: ToolSet) -> Request:
    """Return the request for the chain: the chat completion, with the native body where the server runs none of the tools."""
    chat = to_chat(asked, tools)
    native = None if tools.runs_here else Native(PROTOCOL, to_native(asked))
    return Request(chat, native=native, may_truncate=asked.body.get("truncation") == "auto")


def to_chat(asked: ResponsesRequest, tools: ToolSet) -> Json:
    """Return the chat completion that does what the request asks for.

    Raises:
        InputError: an item cannot be read.
    """
    body = asked.body
    chat: Json = {name: value for name, value in body.items() if name not in _ONLY_RESPONSES and value is not None}
    chat["messages"] = messages_from(asked.items, instructions=body.get("instructions"), tools=tools) or [{"role": "user", "content": ""}]
    if body.get("max_output_tokens") is not None:
        chat["max_tokens"] = body["max_output_tokens"]
    effort = (body.get("reasoning") or {}).get("effort")
    if effort:
        chat["reasoning_effort"] = effort
    text_format = (body.get("text") or {}).get("format")
    if response_format := _response_format(text_format):
        chat["response_format"] = response_format
    if "message.output_text.logprobs" in asked.includes or body.get("top_logprobs"):
        chat["logprobs"] = True
        if body.get("top_logprobs"):
            chat["top_logprobs"] = body["top_logprobs"]
    chat.update(_tool_fields(body, tools))
    return chat


def _tool_fields(body: Mapping[str, Any], tools: ToolSet) -> Json:
    choice = body.get("tool_choice")
    offered = tools.offered(choice)
    if not offered:
        return {}
    fields: Json = {"tools": offered}
    if (wanted := tools.choice(choice)) is not None:
        fields["tool_choice"] = wanted
    if body.get("parallel_tool_calls") is False:
        fields["parallel_tool_calls"] = False
    return fields


def _response_format(wanted: Any) -> Json | None:
    if not isinstance(wanted, dict) or wanted.get("type") in {None, "text"}:
        return None
    if wanted["type"] != "json_schema":
        return {"type": wanted["type"]}
    schema = {name: wanted[name] for name in ("name", "description", "schema", "strict") if wanted.get(name) is not None}
    return {"type": "json_schema", "json_schema": schema}


def to_native(asked: ResponsesRequest) -> Json:
    """Return the body for a server that speaks Responses: the whole conversation in `input`, and nothing kept there."""
    body = {name: value for name, value in asked.body.items() if name not in OURS and value is not None}
    body["input"] = [item for item in map(_sendable, asked.items) if item is not None]
    body["store"] = False
    return body


def _sendable(item: Json) -> Json | None:
    """Return an item as a server takes it that has not stored it; None for reasoning that only its maker could look up."""
    kind = item["type"]
    if kind == "reasoning" and not (item.get("encrypted_content") or item.get("content")):
        return None
    if kind == "message" and item.get("role") != "assistant":
        return {name: value for name, value in item.items() if name not in {"id", "status"}}
    return item
