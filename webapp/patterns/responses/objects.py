"""The response object of OpenAI's schema, and the ids and counts in it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, Literal

from webapp.patterns import errors
from webapp.patterns.types import Json, Usage

Status = Literal["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]
TERMINAL: Final = frozenset({"completed", "failed", "cancelled", "incomplete"})
"""A response in one of these states does not change any more."""

ECHOED: Final[Mapping[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "auto",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""Parameters that a response repeats, with the value of each that the caller left out."""

RESPONSE_PREFIX: Final = "resp_"
_ID_BYTES: Final = 16


def new_id(prefix: str) -> str:
    """Return a fresh id such as `resp_` with 32 hexadecimal digits."""
    return f"{prefix}{secrets.token_hex(_ID_BYTES)}"


def item_id(prefix: str, response_id: str, number: int) -> str:
    """Return the id of output item `number`; it names its response, so that a reference to the item finds it (`owner_of`)."""
    return f"{prefix}{response_id.removeprefix(RESPONSE_PREFIX)}{number:04x}"


def owner_of(identifier: str) -> str:
    """Return the id of the response that an item id of `item_id` belongs to; empty for an id in any other form."""
    _, _, rest = identifier.partition("_")
    return f"{RESPONSE_PREFIX}{rest[:-4]}" if len(rest) == 2 * _ID_BYTES + 4 else ""


def new_response(body: Mapping[str, Any], *, response_id: str, status: Status = "in_progress") -> Json:
    """Return the response object for a request that just began.

    Args:
        body: the request as the caller wrote it.
        response_id: of the response.
        status: "queued" for one that waits to run in the background.
    """
    echoed = {name: body[name] if body.get(name) is not None else default for name, default in ECHOED.items()}
    if "format" not in echoed["text"]:
        echoed["text"] = {"format": {"type": "text"}, **echoed["text"]}
    response: Json = {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "background": bool(body.get("background")),
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": body.get("model"),
        "output": [],
        "usage": None,
        **echoed,
    }
    if body.get("prompt"):
        response["prompt"] = body["prompt"]
    conversation = conversation_id(body)
    if conversation:
        response["conversation"] = {"id": conversation}
    return response


def conversation_id(body: Mapping[str, Any]) -> str:
    """Return the id of the conversation that a request names, as text or as an object; empty where it names none."""
    named = body.get("conversation")
    if isinstance(named, dict):
        named = named.get("id")
    return named if isinstance(named, str) else ""


def usage_json(usage: Usage) -> Json:
    """Return the `usage` object of a response."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def read_usage(body: Json) -> Usage | None:
    """Return the token counts in a response object; None where it holds none."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return None
    read, wrote = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    return Usage(
        _count(usage.get("input_tokens")),
        _count(usage.get("output_tokens")),
        _count(read.get("cached_tokens")) if isinstance(read, dict) else 0,
        _count(wrote.get("reasoning_tokens")) if isinstance(wrote, dict) else 0,
    )


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and value is not True and 0 < value < 1e15 else 0


def error_json(error: Exception) -> Json:
    """Return the `error` of a response that failed: a code of OpenAI's schema, and a message that holds no secret."""
    message = error.message if isinstance(error, errors.PatternError) else "Something broke on our side."
    match error:
        case errors.RateLimited() | errors.AllCooling() | errors.QuotaExhausted() | errors.LimitReached() | errors.BudgetSpent():
            code = "rate_limit_exceeded"
        case errors.InputError() | errors.RequestRejected() | errors.ContextOverflow() | errors.CapabilityMissing():
            code = "invalid_prompt"
        case _:
            code = "server_error"
    return {"code": code, "message": message}


def set_status(response: Json, status: Status, *, error: Json | None = None, reason: str = "") -> None:
    """Set how a response ended.

    Args:
        response: the response object, changed in place.
        status: the final status.
        error: `{"code", "message"}` where it failed.
        reason: why it is incomplete, e.g. "max_output_tokens".
    """
    response["status"] = status
    response["error"] = error
    response["incomplete_details"] = {"reason": reason} if reason else None
    response["completed_at"] = int(time.time()) if status == "completed" else None


def output_text(response: Mapping[str, Any]) -> str:
    """Return the text of all messages in a response's output."""
    return "".join(
        str(part.get("text") or "")
        for item in response.get("output") or ()
        if item.get("type") == "message"
        for part in item.get("content") or ()
        if part.get("type") == "output_text"
    )
