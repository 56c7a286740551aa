"""Replies of a server that speaks Anthropic's Messages API, for `tests.upstream`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.upstream import Received, Reply, Wire, words

Json = dict[str, Any]
USAGE: Final[Json] = {"input_tokens": 5, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 0, "output_tokens": 3}


def event(name: str, **fields: Any) -> bytes:
    """Return one server-sent event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps({"type": name, **fields}).encode())


def answers(
    text: str = "", *, tools: Sequence[tuple[str, Json]] = (), thinking: str = "", stop: str = "", usage: Json | None = None
) -> Reply:
    """Return a reply with a good message, streamed or whole, as the request asks. `tools` are (name, input)."""
    blocks: list[Json] = [{"type": "thinking", "thinking": thinking, "signature": "sig-of-anthropic"}] if thinking else []
    blocks += [{"type": "text", "text": text}] if text else []
    blocks += [{"type": "tool_use", "id": f"toolu_{n}", "name": name, "input": given} for n, (name, given) in enumerate(tools)]
    reason = stop or ("tool_use" if tools else "end_turn")
    return message(blocks, reason, usage or USAGE)


def message(blocks: Sequence[Json], stop: str, usage: Json) -> Reply:
    """Return a reply with these blocks."""

    async def reply(received: Received, wire: Wire) -> None:
        model = received.body["model"]
        whole = {
            "id": "msg_upstream",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": list(blocks),
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": usage,
        }
        if not received.streams:
            await wire.start()
            await wire.end(json.dumps(whole).encode())
            return
        await wire.start(200, "text/event-stream")
        begun = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
        await wire.send(event("message_start", message=begun))
        await wire.send(event("ping"))
        for index, block in enumerate(blocks):
            for data in _block(index, block):
                await wire.send(data)
        await wire.send(
            event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": usage["output_tokens"]})
        )
        await wire.end(event("message_stop"))

    return reply


def _block(index: int, block: Mapping[str, Any]) -> list[bytes]:
    kind, start = block["type"], dict(block)
    if kind == "text":
        start["text"], deltas = "", [{"type": "text_delta", "text": word} for word in words(block["text"])]
    elif kind == "thinking":
        start.update(thinking="", signature="")
        deltas = [{"type": "thinking_delta", "thinking": word} for word in words(block["thinking"])]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    else:
        start["input"] = {}
        text = json.dumps(block["input"])
        deltas = [{"type": "input_json_delta", "partial_json": text[at : at + 5]} for at in range(0, len(text), 5)]
    return [
        event("content_block_start", index=index, content_block=start),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    ]


def counts(tokens: int) -> Reply:
    """Return a reply to `messages/count_tokens`."""

    async def reply(received: Received, wire: Wire) -> None:
        await wire.start()
        await wire.end(json.dumps({"input_tokens": tokens}).encode())

    return reply


def refuses(status: int, kind: str, text: str) -> Reply:
    """Return a reply with an error in Anthropic's shape."""

    async def reply(received: Received, wire: Wire) -> None:
        await wire.start(status)
        await wire.end(json.dumps({"type": "error", "error": {"type": kind, "message": text}}).encode())

    return reply
