"""Serve the built-in backend: an ASGI application with OpenAI's API, called like any other server.

http = httpx2.AsyncClient(transport=InProcess(application))
client = openai.AsyncOpenAI(base_url="http://builtin/v1", api_key="none", http_client=http)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from webapp.builtin import ModelUnavailable, answers, catalog, protocol
from webapp.builtin import embeddings as embedding_answers
from webapp.builtin import rerank as rerank_answers
from webapp.builtin.protocol import ApiError
from webapp.patterns.errors import InputError
from webapp.patterns.types import Json
from webapp.server.asgi import Receive, Scope, Send, send_json

PACE = 0.004
"""Seconds between streamed words: fast, but visibly streaming."""
MAX_BODY = 8 * 2**20

Handler = Callable[[Json, float], Awaitable[Json | AsyncIterator[bytes]]]


async def chat_completions(body: Json, pace: float) -> Json | AsyncIterator[bytes]:
    """Answer POST /v1/chat/completions."""
    return answers.chat(protocol.read_chat(body), pace)


async def completions(body: Json, pace: float) -> Json | AsyncIterator[bytes]:
    """Answer POST /v1/completions."""
    return answers.completion(*protocol.read_completion(body), pace)


async def embeddings(body: Json, _pace: float) -> Json:
    """Answer POST /v1/embeddings."""
    return await _with_embedding_model(embedding_answers.embeddings(body))


async def rerank(body: Json, _pace: float) -> Json:
    """Answer POST /v1/rerank."""
    return await _with_embedding_model(rerank_answers.rerank(body))


async def _with_embedding_model(answer: Awaitable[Json]) -> Json:
    try:
        return await answer
    except InputError as error:
        raise ApiError(404 if error.code == "model_not_found" else 400, error.message, param=error.param, code=error.code) from error
    except ModelUnavailable as error:
        raise ApiError(503, str(error), code="model_unavailable") from error


HANDLERS: dict[str, Handler] = {
    "/v1/chat/completions": chat_completions,
    "/v1/completions": completions,
    "/v1/embeddings": embeddings,
    "/v1/rerank": rerank,
}
"""Handlers by path. A new endpoint needs a line here, and its models in `catalog.MODELS`."""


NOT_OFFERED = frozenset(
    {
        "moderations",
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
        "images/generations",
        "images/edits",
        "images/variations",
    }
)
"""Endpoints of OpenAI's API that the built-in models cannot serve."""


class BuiltinBackend:
    """The ASGI application.

    Args:
        pace: seconds between the words of a stream.
    """

    def __init__(self, pace: float = PACE, handlers: Mapping[str, Handler] = HANDLERS) -> None:
        self.pace = pace
        self.handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            answer = await self._answer(scope, receive)
        except ApiError as error:
            await send_json(send, error.status, error.body)
            return
        if isinstance(answer, dict):
            await send_json(send, 200, answer)
        else:
            await _stream(answer, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Json | AsyncIterator[bytes]:
        path, method = scope["path"].rstrip("/"), scope["method"]
        handler = self.handlers.get(path)
        if path.removeprefix("/v1/") in NOT_OFFERED:
            raise ApiError(501, f"The built-in models do not support {path[:200]}: add a backend that does.", code="unsupported_endpoint")
        allowed = "POST" if handler else "GET" if path == "/v1/models" or path.startswith("/v1/models/") else ""
        if not allowed:
            raise ApiError(404, f"Invalid URL ({method} {path[:200]})")
        if method != allowed:
            raise ApiError(405, f"Not allowed to {method} on {path[:200]} (only {allowed}).", code="method_not_allowed")
        if handler:
            return await handler(await _read_json(receive), self.pace)
        return _models(path.removeprefix("/v1/models").removeprefix("/"))


def _models(name: str) -> Json:
    if not name:
        return {"object": "list", "data": list(catalog.MODELS.values())}
    protocol.check_model(name, list(catalog.MODELS))
    return catalog.MODELS[name]


async def _read_json(receive: Receive) -> Json:
    import jiter

    raw = await _read(receive)
    try:
        body = jiter.from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"We could not parse the JSON body of your request: {error}.") from error
    if not isinstance(body, dict):
        raise ApiError(400, "The body of the request must be a JSON object.")
    return body


async def _read(receive: Receive) -> bytes:
    raw = bytearray()
    while True:
        message = await receive()
        raw += message.get("body", b"")
        if len(raw) > MAX_BODY:
            raise ApiError(413, f"The body of the request is larger than {MAX_BODY} bytes.")
        if not message.get("more_body"):
            return bytes(raw)


async def _stream(events: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    """Send events until they end or the client disconnects."""
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        async for event in events:
            if gone.done():
                return
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _disconnected(receive: Receive) -> None:
    message: Mapping[str, Any] = {}
    while message.get("type") != "http.disconnect":
        message = await receive()


application = BuiltinBackend()
