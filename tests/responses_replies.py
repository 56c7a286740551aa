"""Replies of a server that speaks OpenAI's Responses protocol, for `tests.upstream.Upstream.paths`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.upstream import Received, Reply, Wire
from webapp.patterns.responses.encoder import sse
from webapp.patterns.responses.replay import replay

USAGE = {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 4, "total_tokens": 13}


def responds(text: str = "", *, tools: Sequence[tuple[str, str]] = (), reasoning: str = "", **fields: Any) -> Reply:
    """Return a reply with a good response, streamed or whole, as the request asks. `tools` are (name, arguments)."""
    output: list[Any] = []
    if reasoning:
        output.append({"id": "rs_1", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": reasoning}]})
    output += [
        {"id": f"fc_{n}", "type": "function_call", "call_id": f"call_{n}", "name": name, "arguments": arguments, "status": "completed"}
        for n, (name, arguments) in enumerate(tools)
    ]
    if text:
        part = {"type": "output_text", "text": text, "annotations": []}
        output.append({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]})
    return response({"status": "completed", "output": output, "usage": USAGE, **fields})


def response(body: dict[str, Any]) -> Reply:
    """Return a reply with this response."""

    async def reply(received: Received, wire: Wire) -> None:
        whole = {"id": "resp_upstream", "object": "response", "model": received.body["model"], **body}
        if not received.streams:
            await wire.start()
            await wire.end(json.dumps(whole).encode())
            return
        await wire.start(200, "text/event-stream")
        events = replay(whole)
        for at in range(0, len(events), 97):  # in pieces that end in the middle of events
            await wire.send(events[at : at + 97])
        await wire.end()

    return reply


def breaks_off(text: str) -> Reply:
    """Return a reply that begins to stream and then fails."""

    async def reply(received: Received, wire: Wire) -> None:
        await wire.start(200, "text/event-stream")
        begun = {"id": "resp_upstream", "status": "in_progress", "output": []}
        await wire.send(sse({"type": "response.created", "response": begun}))
        await wire.send(sse({"type": "response.output_text.delta", "delta": text, "output_index": 0, "item_id": "m", "content_index": 0}))
        failed = {**begun, "status": "failed", "error": {"code": "server_error", "message": "The GPU fell over."}}
        await wire.end(sse({"type": "response.failed", "response": failed}))

    return reply
