"""Read the events of a response in tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

from webapp.patterns.responses.items import normalize_input
from webapp.patterns.responses.objects import new_response
from webapp.patterns.responses.request import ResponsesRequest
from webapp.patterns.responses.snapshot import events_in
from webapp.patterns.types import AttemptLog, Delta, ModelInfo, Request, Response, StreamChunk

RESPONSE_ID = "resp_" + "0" * 32


def decoded(raw: bytes) -> list[dict[str, Any]]:
    return list(events_in(raw))


def kinds(raw: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in decoded(raw)]


def request_of(history: Any = (), /, **body: Any) -> ResponsesRequest:
    body = {"model": "m", "input": "hi", **body}
    return ResponsesRequest(body, list(history), normalize_input(body["input"]))


def response_of(**body: Any) -> dict[str, Any]:
    return new_response({"model": "m", **body}, response_id=RESPONSE_ID)


class ScriptedBackend:
    """Answers each request with the next script: deltas, chunks, an error, or a whole body."""

    name = "scripted"

    def __init__(self, *scripts: Any) -> None:
        self.scripts = list(scripts)
        self.requests: list[Request] = []

    async def stream(self, request: Request, *, trail: AttemptLog | None = None) -> AsyncGenerator[StreamChunk, None]:
        self.requests.append(request)
        for piece in self.scripts.pop(0):
            if isinstance(piece, Exception):
                raise piece
            yield piece if isinstance(piece, StreamChunk) else StreamChunk(b"", (piece,))

    async def send(self, request: Request, *, trail: AttemptLog | None = None) -> Response:
        self.requests.append(request)
        script = self.scripts.pop(0)
        if isinstance(script, Exception):
            raise script
        return script if isinstance(script, Response) else Response(b"", script)

    async def models(self) -> list[ModelInfo]:
        return []

    async def aclose(self) -> None:
        pass


def says(text: str, **fields: Any) -> list[Delta]:
    return [Delta(text=text), Delta(finish_reason="stop", **fields)]


def whole(text: str = "", *, calls: Any = (), finish: str = "stop", **message: Any) -> dict[str, Any]:
    tool_calls = [
        {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": a}} for number, (name, a) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": text or None, **({"tool_calls": tool_calls} if tool_calls else {}), **message}
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}


async def gathered(stream: Any, seen: Callable[[bytes], None] | None = None) -> bytes:
    raw = b""
    async for events in stream:
        raw += events
        if seen:
            seen(events)
    return raw
