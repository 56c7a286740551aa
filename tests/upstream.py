"""A scriptable OpenAI-compatible server for tests: a real ASGI application over real HTTP, as hostile as a test needs it.

    def test_it_falls_back(make_upstream):
        broken, good = make_upstream(), make_upstream()
        broken.script(status(503))                      # for its next request; afterwards `broken.default`
        good.default = says("Hello", pace=0.02)         # streamed or whole, as the request asks
        ...
        assert broken.requests[0].body["model"] == "m"

A reply is an async function of (what was received, the wire). The ones below cover what real servers do; a test may write its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
import tempfile
import threading
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.upstream_files import FileRoom
from webapp.server.asgi import Receive, Scope, Send

Json = dict[str, Any]
SCRIPTED = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})


class _Mark:
    """Something that happens to a connection between bytes."""


CUT: Final = _Mark()
"""In `stream(...)`: the connection is cut here, without an end of the body."""
STALL: Final = _Mark()
"""In `stream(...)`: nothing more is sent, and the connection stays open until the client goes away."""

Piece = Mapping[str, Any] | str | bytes | float | _Mark


@dataclass
class Received:
    """One request as it arrived. `gone`: the client went away before the reply ended. `ended`: the reply is over, either way."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: bytes
    at: float = field(default_factory=time.monotonic)
    gone: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    gone_at: float | None = None
    close: Callable[[], None] = lambda: None
    """Closes the connection under the server's feet."""

    @property
    def body(self) -> Json:
        """The decoded JSON body."""
        decoded: Json = json.loads(self.raw)
        return decoded

    @property
    def streams(self) -> bool:
        return bool(self.raw and self.body.get("stream"))


class Wire:
    """The way back to the client."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def start(self, code: int = 200, content_type: str = "application/json", headers: Mapping[str, str] | None = None) -> None:
        pairs = {"content-type": content_type, **(headers or {})}
        raw = [(name.lower().encode(), value.encode()) for name, value in pairs.items()]
        await self._send({"type": "http.response.start", "status": code, "headers": raw})

    async def send(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data})


Reply = Callable[[Received, Wire], Awaitable[None]]


class _CutError(Exception):
    """Raised into uvicorn, which then drops the connection."""


# --- replies -----------------------------------------------------------------------------------------------------------------------------


def chunk(delta: Mapping[str, Any] | None = None, *, finish: str | None = None, **fields: Any) -> Json:
    """One `chat.completion.chunk` as OpenAI writes it; `fields` replace or add top-level fields."""
    choice = {"index": 0, "delta": dict(delta or {}), "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m", "choices": [choice], **fields}


def sse(*events: Mapping[str, Any] | str) -> bytes:
    """Server-sent events, each a JSON object or text as it is."""
    return b"".join(
        b"data: %b\n\n" % (event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)).encode() for event in events
    )


def stream(*pieces: Piece, content_type: str = "text/event-stream", code: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A streamed body: objects become events, text and bytes go as they are, numbers are pauses in seconds, CUT and STALL happen."""

    async def reply(received: Received, wire: Wire) -> None:
        await wire.start(code, content_type, headers)
        for piece in pieces:
            await _play(piece, wire)
        await wire.end()

    return reply


async def _play(piece: Piece, wire: Wire) -> None:
    if isinstance(piece, _Mark):
        await (_cut() if piece is CUT else asyncio.sleep(3600))
    elif isinstance(piece, int | float):
        await asyncio.sleep(piece)
    elif isinstance(piece, Mapping):
        await wire.send(sse(piece))
    else:
        await wire.send(piece.encode() if isinstance(piece, str) else piece)


async def _cut() -> None:
    await asyncio.sleep(0.01)  # what was written before must leave first
    raise _CutError


def endless(*, pace: float = 0.0) -> Reply:
    """A stream that never ends."""

    async def reply(received: Received, wire: Wire) -> None:
        await wire.start(200, "text/event-stream")
        while True:
            await wire.send(sse(chunk({"content": "more "})))
            await asyncio.sleep(pace)

    return reply


def status(code: int, body: Any = None, *, headers: Mapping[str, str] | None = None, content_type: str = "application/json") -> Reply:
    """A refusal. `body`: an object to be sent as JSON, text or bytes as they are; none for an error object as OpenAI writes it."""
    if body is None:
        body = {"error": {"message": f"refused with {code}", "type": "some_error", "param": None, "code": None}}
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()

    async def reply(received: Received, wire: Wire) -> None:
        await wire.start(code, content_type, headers)
        await wire.end(data)

    return reply


def error(message: str, *, code: int = 400, headers: Mapping[str, str] | None = None, **fields: Any) -> Reply:
    """A refusal with an error object."""
    return status(code, {"error": {"message": message, **fields}}, headers=headers)


def html(code: int = 200) -> Reply:
    """A proxy's login page where JSON was asked for."""
    return status(code, "<!doctype html><html><body>Please log in</body></html>", content_type="text/html")


async def silence(received: Received, wire: Wire) -> None:
    """Not even headers."""
    await asyncio.sleep(3600)


async def hang_up(received: Received, wire: Wire) -> None:
    """The connection is closed before any answer."""
    received.close()


USAGE: Final[Json] = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def says(
    text: str = "",
    *,
    tool_calls: Sequence[tuple[str, str]] = (),
    reasoning: str = "",
    finish: str = "",
    usage: Json | None = None,
    pace: float = 0.0,
    first: float = 0.0,
) -> Reply:
    """A good answer, streamed a word at a time or whole, as the request asks. `tool_calls` are (name, arguments); times in seconds."""
    calls = [
        {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(tool_calls)
    ]
    reason = finish or ("tool_calls" if calls else "stop")
    deltas: list[Json] = [{"reasoning_content": word} for word in words(reasoning)]
    deltas += [{"content": word} for word in words(text)]
    deltas += [{"tool_calls": [{"index": number, **call}]} for number, call in enumerate(calls)]
    message = {"role": "assistant", "content": text or None, **({"tool_calls": calls} if calls else {})}

    async def reply(received: Received, wire: Wire) -> None:
        await asyncio.sleep(first)
        if received.streams:
            await _speak(received, wire, deltas, reason, usage or USAGE, pace)
        else:
            await wire.start()
            await wire.end(json.dumps(_whole(received, message, text, reason, usage or USAGE)).encode())

    return reply


def tokens(count: int, *, pace: float = 0.0, first: float = 0.0) -> Reply:
    """`count` tokens `tok0 tok1 …`, one each `pace` seconds by the clock."""
    return says(" ".join(f"tok{number}" for number in range(count)), pace=pace, first=first)


def words(text: str) -> list[str]:
    """The pieces in which `says` streams a text."""
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+", text)


async def _speak(received: Received, wire: Wire, deltas: Sequence[Json], reason: str, usage: Json, pace: float) -> None:
    body = received.body
    legacy = received.path.endswith("/v1/completions")
    await wire.start(200, "text/event-stream")
    if not legacy:
        await wire.send(sse(chunk({"role": "assistant", "content": ""}, model=body.get("model"))))
    began = time.monotonic()
    for number, delta in enumerate(deltas):
        await asyncio.sleep(max(0.0, began + number * pace - time.monotonic()))
        await wire.send(sse(_legacy(delta) if legacy else chunk(delta, model=body.get("model"))))
    await wire.send(sse(_legacy({}, reason) if legacy else chunk(finish=reason)))
    if (body.get("stream_options") or {}).get("include_usage"):
        await wire.send(sse(chunk(choices=[], usage=usage)))
    await wire.end(b"data: [DONE]\n\n")


def _legacy(delta: Json, finish: str | None = None) -> Json:
    return chunk(object="text_completion", choices=[{"index": 0, "text": delta.get("content", ""), "finish_reason": finish}])


def _whole(received: Received, message: Json, text: str, reason: str, usage: Json) -> Json:
    choice: Json = {"index": 0, "finish_reason": reason}
    legacy = received.path.endswith("/v1/completions")
    choice.update({"text": text} if legacy else {"message": message})
    kind = "text_completion" if legacy else "chat.completion"
    model = received.body.get("model")
    return {"id": "chatcmpl-1", "object": kind, "created": 1700000000, "model": model, "choices": [choice], "usage": usage}


def embeds(dimension: int = 8) -> Reply:
    """Deterministic embeddings: texts that share words are near."""

    async def reply(received: Received, wire: Wire) -> None:
        texts = received.body["input"]
        texts = [texts] if isinstance(texts, str) else texts
        data = [{"object": "embedding", "index": i, "embedding": embedding(str(text), dimension)} for i, text in enumerate(texts)]
        used = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        await wire.start()
        await wire.end(json.dumps({"object": "list", "data": data, "model": received.body.get("model"), "usage": used}).encode())

    return reply


def embedding(text: str, dimension: int = 8) -> list[float]:
    """A bag of words, each in the bucket of its bytes' sum."""
    vector = [0.1] * dimension
    for word in text.lower().split():
        vector[sum(word.encode()) % dimension] += 1.0
    return vector


# --- the server --------------------------------------------------------------------------------------------------------------------------


class _Protocol(HttpToolsProtocol):
    """uvicorn's, which lets a reply reach the connection itself."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"transport": {"close": self.transport.close}}


class Upstream:
    """One server on a free loopback port. `base_url` ends in /v1.

    Attributes:
        requests: all that arrived, in order.
        default: the reply to completions when no script is left.
        paths: the replies to requests of further paths (`/v1/messages`).
        models: what `GET /v1/models` lists.
        files: the files and batches (`tests.upstream_files`).
        peers: the client ports that requests came from: one for each connection.
    """

    def __init__(self, *, tls: bool = False) -> None:
        self.forget()
        self.embeds: Reply = embeds()
        self.models: list[Json] = [{"id": "m", "object": "model", "created": 1700000000, "owned_by": "tests"}]
        self.files = FileRoom()
        self.peers: set[int] = set()
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/v1"
        certificate = _self_signed() if tls else None
        config = uvicorn.Config(
            self,
            http=_Protocol,
            log_level="critical",
            lifespan="off",
            ws="none",
            access_log=False,
            timeout_keep_alive=60,
            ssl_certfile=certificate,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.001)

    def forget(self) -> None:
        """As it was at first: nothing asked, nothing scripted."""
        self.requests: list[Received] = []
        self.default: Reply = says("Hello from upstream.")
        self.paths: dict[str, Reply] = {}
        self._scripts: dict[str, deque[Reply]] = defaultdict(deque)

    def script(self, *replies: Reply, path: str = "") -> None:
        """Queue replies: for the next completions and embeddings, or for the next requests of one path (`/v1/models`)."""
        self._scripts[path].extend(replies)

    def wait_for(self, count: int, timeout: float = 5) -> None:
        """Wait until `count` requests have arrived."""
        deadline = time.monotonic() + timeout
        while len(self.requests) < count:
            assert time.monotonic() < deadline, f"{len(self.requests)} of {count} requests came"
            time.sleep(0.002)

    def stop(self, *, wait: bool = True) -> None:
        """Close the port and all connections; afterwards the address refuses."""
        self._server.should_exit = self._server.force_exit = True
        if wait:
            self._thread.join(5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = await _receive(scope, receive)
        self.requests.append(received)
        self.peers.add(scope["client"][1])
        reply = asyncio.ensure_future(self._reply(received)(received, Wire(send)))
        watch = asyncio.ensure_future(_until_gone(receive))
        await asyncio.wait({reply, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not reply.done():
            received.gone_at = time.monotonic()
            received.gone.set()
        for task in (reply, watch):
            task.cancel()
        try:
            await reply
        except asyncio.CancelledError:
            received.gone.set()
        finally:
            received.ended.set()

    def _reply(self, received: Received) -> Reply:
        if queue := self._scripts[received.path]:
            return queue.popleft()
        if received.path in self.paths:
            return self.paths[received.path]
        if received.method == "POST" and received.path in SCRIPTED:
            if queue := self._scripts[""]:
                return queue.popleft()
            return self.embeds if received.path.endswith("embeddings") else self.default
        return self._resource(received)

    def _resource(self, received: Received) -> Reply:
        if received.path == "/v1/models":
            return status(200, {"object": "list", "data": self.models})
        code, body = self.files.answer(received.method, received.path.removeprefix("/v1"), received.headers, received.raw)
        return status(code, body)


async def _receive(scope: Scope, receive: Receive) -> Received:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    query = dict(parse_qsl(scope["query_string"].decode()))
    return Received(scope["method"], scope["path"], query, headers, b"".join(parts), close=scope["extensions"]["transport"]["close"])


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _self_signed() -> Path:
    """A certificate that nobody trusts, with its key, as one PEM file."""
    from tests.certificates import self_signed

    path = Path(tempfile.mkdtemp()) / "server.pem"
    path.write_bytes(self_signed("127.0.0.1"))
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
    return path


def closed_port() -> int:
    """A port that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextlib.contextmanager
def mute_port() -> Iterator[int]:
    """A port whose connections are never accepted: connecting to it hangs (its queue is full)."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield listener.getsockname()[1]
