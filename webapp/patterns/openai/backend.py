"""Implement a backend for OpenAI-compatible servers. This is the only module that imports the openai package.

The package provides clients, authentication, headers, files, and batches. Hot calls are sent as copies of its requests (`http.hot_path`),
and streams are read raw and decoded by `decoder`.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import ssl
import sys
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, Self, cast
from urllib.parse import parse_qsl, quote, urlsplit

import anyio
import httpx2

from webapp.patterns import errors
from webapp.patterns.backend import Timeouts
from webapp.patterns.http.addresses import check_base_url
from webapp.patterns.http.hot_path import HotPathClient, Httpx2Poster, Poster, Send
from webapp.patterns.http.response import HttpResponse, Httpx2Reply, rest
from webapp.patterns.http.transport import PoolTransport, make_transport
from webapp.patterns.messages.exchange import CountExchange
from webapp.patterns.openai import error_mapping, normalize, repairs
from webapp.patterns.openai.attempt_recorder import Prices, PricesByModel, Recorder
from webapp.patterns.openai.exchange import Exchange, choose_exchange, translation_for
from webapp.patterns.openai.model_list import read_models
from webapp.patterns.openai.response_reader import PacketReader, chunks, read_answer, read_object, read_opaque, unreachable
from webapp.patterns.redaction import Redactor
from webapp.patterns.types import Attempt, AttemptLog, Json, ModelInfo, Request, Response, StreamChunk

if TYPE_CHECKING:
    import openai

KEY_HEADERS: Final = frozenset({"authorization", "x-api-key", "api-key"})
"""Headers that carry the key in place of a bearer token, where an administrator set them."""
PUBLIC_HEADERS: Final = frozenset({"anthropic-version"})
MAX_MODELS: Final = 1000
"""An Anthropic server lists 20 models where the request does not say how many."""
NO_SUCH_PATH: Final = frozenset({404, 405, 501})
_ANSWER_PATIENCE: Final = 10
"""A complete answer may take this many times as long as a first token, because the model may think long before it writes."""


AZURE_HOSTS: Final = (".azure.com", ".azure.us", ".azure.cn", ".azure-api.net")


def carries_key(headers: Mapping[str, str]) -> bool:
    """Return whether one of the headers carries the key, so that no bearer token is sent besides."""
    return any(name.lower() in KEY_HEADERS for name in headers)


def secret_values(headers: Mapping[str, str]) -> list[str]:
    """Return the values of the headers that may be secret."""
    return [value for name, value in headers.items() if name.lower() not in PUBLIC_HEADERS]


class Slots(Protocol):
    """Bound the calls that run at once, as `asyncio.Semaphore` does."""

    def locked(self) -> bool:
        """Return whether all are taken."""

    async def acquire(self) -> bool:
        """Take one."""
        ...

    def release(self) -> None:
        """Give one back."""


class OpenAIBackend:
    """One OpenAI-compatible server, with one connection pool for its lifetime.

    Args:
        name: for attempt logs and messages.
        base_url: up to and including /v1, or an Azure address with its `?api-version=`.
        api_key: sent as a bearer token; empty for none. It never appears in an error.
        headers: sent with each request, as secret as the key.
        timeouts: see `Timeouts`.
        max_concurrency: calls at once; more wait for a slot.
        slots: replaces the slots of this process, e.g. with those that several processes share.
        prices: prices of tokens; `model_prices` for single models.
        capabilities: known capabilities by name. False changes or refuses requests.
        adaptations: the repairs that its models need (`openai.repairs`).
        http_client: replaces its own client, for a server in this process.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: str = "",
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        max_concurrency: int | None = None,
        prices: Prices | None = None,
        model_prices: PricesByModel | None = None,
        capabilities: Mapping[str, bool] | None = None,
        adaptations: repairs.Adaptations | None = None,
        http_client: httpx2.AsyncClient | None = None,
        slots: Slots | None = None,
    ) -> None:
        self.name = name
        self.base_url = base_url.rstrip("/")
        self.timeouts = timeouts or Timeouts()
        self.capabilities: Mapping[str, bool] = capabilities or {}
        self.adaptations = adaptations or repairs.Adaptations()
        self.redactor = Redactor([api_key.strip(), *secret_values(headers or {})])
        self._key = _header_safe(api_key.strip(), "API key")
        self._headers = {key: _header_safe(value, f"header {key}") for key, value in (headers or {}).items()}
        self._prices = prices
        self._model_prices = model_prices or {}
        self._slots = slots or (asyncio.Semaphore(max_concurrency) if max_concurrency else None)
        self._http = http_client
        self.largest_body = 0
        """The bytes of the largest request body that the server has accepted."""
        self._client: openai.AsyncOpenAI | None = None
        self._poster: Poster | None = None

    async def stream(
        self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None
    ) -> AsyncGenerator[StreamChunk, None]:
        """Stream the answer (`Backend.stream`)."""
        limits = timeouts or self.timeouts
        exchange = choose_exchange(request, stream=True, capabilities=self.capabilities)
        with self._recorded(exchange, trail) as record:
            normalize.check_translated(request, exchange.protocol)
            await self._ready()  # its first time takes long, and is not the server's fault
            deadline = asyncio.get_running_loop().time() + limits.first_token
            async with self._called("POST", exchange.path, deadline, exchange) as reply:
                reader = PacketReader(reply, limits, deadline, self.redactor, exchange)
                async for packet in reader.packets():
                    record.saw(packet)
                    record.complete = reader.done  # many clients leave as soon as they have read [DONE]
                    yield packet

    async def send(self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None) -> Response:
        """Return the complete answer (`Backend.send`). It may take ten times the first-token timeout, but may not pause once it began."""
        limits = timeouts or self.timeouts
        exchange = choose_exchange(request, stream=False, capabilities=self.capabilities)
        with self._recorded(exchange, trail) as record:
            normalize.check_translated(request, exchange.protocol)
            await self._ready()  # its first time takes long, and is not the server's fault
            deadline = asyncio.get_running_loop().time() + limits.first_token * _ANSWER_PATIENCE
            async with self._called("POST", exchange.path, deadline, exchange) as reply:
                if exchange.opaque:
                    answer = await read_opaque(reply, deadline, limits.idle, self.redactor)
                else:
                    legacy = "functions" in request.body
                    answer = await read_answer(reply, exchange.path, deadline, limits.idle, self.redactor, legacy=legacy)
            answer = exchange.read(answer)
            record.whole(answer)
            return answer

    async def models(self) -> list[ModelInfo]:
        """Return the models that the server lists, with their windows if reported."""
        query = {"limit": MAX_MODELS} if translation_for("chat/completions", self.capabilities) == "messages" else None
        return read_models(await self._object("GET", "models", query=query))

    async def count_tokens(self, request: Request) -> int:
        """Return the prompt tokens of a Messages request as the server counts them.

        Raises:
            BackendError: the server did not count.
        """
        exchange = CountExchange(request)
        await self._ready()
        deadline = asyncio.get_running_loop().time() + self.timeouts.first_token
        async with self._called("POST", exchange.path, deadline, exchange) as reply:
            return exchange.count(await read_object(reply, deadline, self.redactor))

    async def aclose(self) -> None:
        """Close all connections. Closing twice does nothing."""
        if self._http is not None:
            await self._http.aclose()

    @property
    def is_full(self) -> bool:
        """Whether `max_concurrency` calls are running: another one would wait."""
        return self._slots is not None and self._slots.locked()

    async def __aenter__(self) -> Self:
        """Return the backend, for `async with OpenAIBackend(...) as backend`."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self.aclose()

    # --- files and batches: OpenAI's objects as plain JSON

    async def upload_file(self, name: str, content: bytes | IO[bytes], *, purpose: str = "batch") -> Json:
        """Upload a file and return the file object."""
        return await self._object("POST", "files", form={"purpose": purpose}, files={"file": (name, content)})

    async def retrieve_file(self, file_id: str) -> Json:
        """Return the file object."""
        return await self._object("GET", f"files/{_segment(file_id)}")

    async def delete_file(self, file_id: str) -> Json:
        """Delete a file and return `{"id", "object", "deleted"}`."""
        return await self._object("DELETE", f"files/{_segment(file_id)}")

    async def file_content(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file as they arrive."""
        deadline = asyncio.get_running_loop().time() + self.timeouts.total
        async with self._called("GET", f"files/{_segment(file_id)}/content", deadline) as reply:
            async for data in chunks(reply, deadline, self.timeouts.idle, self.redactor):
                yield data

    async def create_batch(
        self, input_file_id: str, endpoint: str, *, window: str = "24h", metadata: Mapping[str, str] | None = None
    ) -> Json:
        """Start a batch over an uploaded file and return it. `endpoint` is a path such as `/v1/chat/completions`."""
        body: Json = {"input_file_id": input_file_id, "endpoint": endpoint, "completion_window": window}
        if metadata:
            body["metadata"] = dict(metadata)
        return await self._object("POST", "batches", content=normalize.encoded(body))

    async def retrieve_batch(self, batch_id: str) -> Json:
        """Return the present batch object."""
        return await self._object("GET", f"batches/{_segment(batch_id)}")

    async def cancel_batch(self, batch_id: str) -> Json:
        """Ask the server to cancel a batch; return the batch object."""
        return await self._object("POST", f"batches/{_segment(batch_id)}/cancel", content=b"{}")

    async def list_batches(self, *, limit: int = 20, after: str = "") -> list[Json]:
        """Return batch objects, newest first. `after` is the last id of the previous page."""
        query = {"limit": limit, **({"after": after} if after else {})}
        page = await self._object("GET", "batches", query=query)
        return [batch for batch in page.get("data") or () if isinstance(batch, dict)]

    # --- the calls

    async def _object(self, method: str, path: str, **call: Any) -> Json:
        """Call an endpoint that answers with one object."""
        deadline = asyncio.get_running_loop().time() + self.timeouts.first_token
        async with self._called(method, path, deadline, **call) as reply:
            return await read_object(reply, deadline, self.redactor)

    def _called(self, method: str, path: str, deadline: float, exchange: Exchange | None = None, **call: Any) -> _Called:
        """Return a context with a successful response whose body is unread. It closes an incompletely read connection at the end."""
        return _Called(self._slots, deadline, self._answered(method, path, deadline, exchange, call))

    async def _answered(self, method: str, path: str, deadline: float, exchange: Exchange | None, call: dict[str, Any]) -> HttpResponse:
        if exchange is None:
            return Httpx2Reply(await self._request(method, path, deadline, **call))
        if exchange.path not in repairs.PATHS and not exchange.protocol:
            return await self._posted(exchange, deadline)
        try:
            return await self._repaired(exchange, deadline)
        except errors.BackendError as error:
            if not self._lacks_protocol(exchange, error):
                raise
            why = f"The server has no {exchange.path}: it is asked in chat completions from now on."
        raise errors.Conflict(why)

    def _lacks_protocol(self, exchange: Exchange, error: errors.BackendError) -> bool:
        """Return whether the server does not know the path of the caller's protocol, as older versions of many servers do not.

        It is remembered, so that the next try (a chain tries once more after a conflict) sends the translation.
        """
        if not exchange.protocol or self.capabilities.get("chat_completions") is False:
            return False
        if error.status not in NO_SUCH_PATH or "model" in error.message.lower():
            return False
        self.capabilities = {**self.capabilities, exchange.protocol: False}
        return True

    async def _repaired(self, exchange: Exchange, deadline: float) -> HttpResponse:
        """Send a request with the known repairs of its model, and again if a new repair makes the server accept it."""
        body = exchange.body
        model = str(body.get("model") or "")
        for known in self.adaptations.of(model):
            repairs.apply(known, body)
        tried: dict[str, str] = {}
        while True:
            try:
                reply = await self._posted(exchange, deadline)
            except errors.BackendError as error:
                repair = repairs.find_repair(error, body, tried) if len(tried) < repairs.MOST else None
                if repair is None or not repairs.apply(repair, body):
                    raise
                tried[repair] = error.message
                continue
            for needed, why in tried.items():
                self.adaptations.learn(model, needed, why)
            return reply

    async def _posted(self, exchange: Exchange, deadline: float) -> HttpResponse:
        """Send a hot call without the package. The caller has awaited `_ready`."""
        assert self._poster is not None, "it comes with the client"
        failure: errors.BackendError
        try:
            content = exchange.content()
            reply = await self._poster.post(exchange.path, content, deadline, exchange.headers)
            if 200 <= reply.status < 300:
                self.largest_body = max(self.largest_body, len(content))
                return reply
            failure = error_mapping.refused(
                reply.status, await rest(reply, deadline), httpx2.Headers(reply.headers), self.redactor, sent=content
            )
        except TimeoutError:
            failure = errors.TimedOut("No answer began in time.")
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, anyio.EndOfStream) as error:  # httpx2 does not wrap the last two
            failure = unreachable(error, self.redactor)
        raise failure  # here, not above: as in `_request`

    async def _request(self, method: str, path: str, deadline: float, **call: Any) -> httpx2.Response:
        client = await self._ready()
        failure: errors.BackendError
        try:
            async with asyncio.timeout_at(deadline):
                return await _requested(client, method, path, **call)
        except TimeoutError:
            failure = errors.TimedOut("No answer began in time.")
        except package().APIStatusError as error:
            failure = error_mapping.refused(error.status_code, error.response.content, error.response.headers, self.redactor)
        except (package().APIConnectionError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            failure = unreachable(error.__cause__ or error, self.redactor)
        raise failure  # raised here, so that the original with its secrets is not its context

    async def _ready(self) -> openai.AsyncOpenAI:
        if "openai" not in sys.modules:
            await warm_up()  # several callers may wait here; the first to resume builds the client
        if self._client is None:
            wait = httpx2.Timeout(None, connect=self.timeouts.connect)
            transport = None
            if self._http is None:
                transport = self._transport()
                self._http = httpx2.AsyncClient(transport=transport, timeout=wait, follow_redirects=False, trust_env=False)
            address, query = split_query(self.base_url)
            client = _client_class()(address, self._key, self._headers, self._http, query)
            if isinstance(transport, PoolTransport):
                self._poster = HotPathClient(client.template, transport, self.timeouts.connect)
            else:  # a given client may do additional work
                given: Send = functools.partial(self._http.send, stream=True, follow_redirects=False)
                self._poster = Httpx2Poster(client.template, transport.handle_async_request if transport else given, wait)
            self._client = client
        return self._client

    def _transport(self) -> httpx2.AsyncBaseTransport:
        try:
            check_base_url(self.base_url)
        except errors.InputError as error:
            raise errors.Unreachable(error.message) from None
        return make_transport(self.base_url)

    def _recorded(self, exchange: Exchange, trail: AttemptLog | None) -> Recorder:
        model = str(exchange.body.get("model") or "")
        attempt = Attempt(self.name, model, request=exchange.body, path=exchange.path, base_url=self.base_url)
        return Recorder(attempt, trail, self._model_prices.get(model, self._prices))


class _Called:
    """Hold a concurrency slot for one call. A class, because @asynccontextmanager costs three times as much here."""

    __slots__ = ("_answered", "_deadline", "_reply", "_slots")

    def __init__(self, slots: Slots | None, deadline: float, answered: Coroutine[Any, Any, HttpResponse]) -> None:
        self._slots = slots
        self._deadline = deadline
        self._answered = answered

    async def __aenter__(self) -> HttpResponse:
        if self._slots is not None:
            await self._place(self._slots)
        try:
            self._reply = await self._answered
        except BaseException:
            self._leave()
            raise
        return self._reply

    async def __aexit__(self, *_error: object) -> None:
        try:
            await self._reply.aclose()
        finally:
            self._leave()

    async def _place(self, slots: Slots) -> None:
        try:
            async with asyncio.timeout_at(self._deadline):
                await slots.acquire()
        except BaseException as error:
            self._answered.close()
            if isinstance(error, TimeoutError):
                raise errors.RateLimited("The backend is already at its concurrency limit.", retry_after=1.0) from None
            raise

    def _leave(self) -> None:
        if self._slots is not None:
            self._slots.release()


async def warm_up() -> None:
    """Import the openai package without blocking the event loop; otherwise the first request does."""
    await asyncio.to_thread(package)


@functools.cache
def package() -> Any:
    """Return the openai package, imported at first use, which takes most of a second."""
    return importlib.import_module("openai")


async def _requested(
    client: openai.AsyncOpenAI, method: str, path: str, *, query: Any = None, form: Any = None, files: Any = None, **call: Any
) -> httpx2.Response:
    """Send with the package's generic request method: the typed ones validate the whole body, which takes milliseconds."""
    options: Any = {"params": query} if query else {}
    if form:
        call = {"body": form, "files": files}
        options["headers"] = {"Content-Type": "multipart/form-data"}
    raw: Any = {"cast_to": httpx2.Response, "options": options, "stream": True, "stream_cls": package().AsyncStream}
    if method == "GET":
        response = await client.get(f"/{path}", **raw)
    elif method == "DELETE":
        response = await client.delete(f"/{path}", cast_to=httpx2.Response, options=options)
    else:
        response = await client.post(f"/{path}", **raw, **call)
    return cast("httpx2.Response", response)


@functools.cache
def _client_class() -> Any:
    """Return the package's client without its environment variables: another vendor's server must not get OpenAI's headers."""

    class Client(package().AsyncOpenAI):  # type: ignore[misc]  # the package is loaded late
        def __init__(self, base_url: str, key: str, headers: Mapping[str, str], http: httpx2.AsyncClient, query: Mapping[str, str]) -> None:
            options: Any = {"default_query": query} if query else {}
            super().__init__(
                api_key=key or "none", base_url=base_url, http_client=http, max_retries=0, organization="", project="", **options
            )
            authorization = {} if carries_key(headers) else authorization_of(base_url, key)
            agent = {"User-Agent": self.user_agent, "Accept-Encoding": "identity", "Content-Type": "application/json"}
            self._own_headers = {**agent, **authorization, **headers}

        def _auth_headers(self, _security: Any) -> dict[str, str]:
            return {}

        @property
        def default_headers(self) -> dict[str, str]:
            return self._own_headers

        def template(self, path: str) -> httpx2.Request:
            """Return the request that the client would send for a POST of JSON."""
            options = importlib.import_module("openai._models").FinalRequestOptions(method="post", url=f"/{path}", content=b"")
            return cast("httpx2.Request", self._build_request(options))

        def _validate_headers(self, _headers: Any, _custom_headers: Any) -> None:
            """Skip the SDK's credential check: some servers need no key."""

    return Client


def split_query(base_url: str) -> tuple[str, dict[str, str]]:
    """Return a base URL without its query (Azure's `?api-version=`), and the query, which every call gets."""
    address, _, query = base_url.partition("?")
    return address.rstrip("/"), dict(parse_qsl(query))


def authorization_of(base_url: str, key: str) -> dict[str, str]:
    """Return the header that carries the key: Azure takes an API key as `api-key`, everyone else as a bearer token."""
    if not key:
        return {}
    host = urlsplit(base_url).hostname or ""
    return {"api-key": key} if host.endswith(AZURE_HOSTS) else {"Authorization": f"Bearer {key}"}


def _header_safe(value: str, what: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise errors.InputError(f"The {what} holds characters that no HTTP header can carry.")
    return value


def _segment(identifier: str) -> str:
    return quote(identifier, safe="")
