"""Probe the capabilities of a server with a dozen small requests, and store each result with its evidence.

The requests go out raw, so that the evidence is the server's own answer. A request that is refused for one of its other parameters is
repaired and sent again. Only a refusal of the capability itself counts as "no". A model that did not use a tool when it could have, and a
refusal for another reason, are "unclear" and change nothing: a test never disables a model that works.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import httpx2
from django.utils.translation import gettext as _

from webapp.backends.config.snapshot import BackendRow
from webapp.patterns.curl.commands import to_curl
from webapp.patterns.errors import (
    BackendError,
    BadAnswer,
    CapabilityMissing,
    ModelMissing,
    PathMissing,
    PatternError,
    RequestRejected,
    ServerFailed,
)
from webapp.patterns.messages.completions import to_completion as message_to_completion
from webapp.patterns.messages.decoder import EventDecoder
from webapp.patterns.messages.from_chat import from_chat as messages_from_chat
from webapp.patterns.openai.backend import carries_key, secret_values
from webapp.patterns.openai.chunk_writer import ChunkWriter
from webapp.patterns.openai.error_mapping import refused
from webapp.patterns.openai.exchange import translation_for
from webapp.patterns.openai.model_list import read_models
from webapp.patterns.openai.repairs import apply, find_repair
from webapp.patterns.redaction import Redactor
from webapp.patterns.responses.completions import ChunkDecoder
from webapp.patterns.responses.completions import to_completion as response_to_completion
from webapp.patterns.responses.from_chat import from_chat as responses_from_chat
from webapp.patterns.types import Json, Protocol

Outcome = Literal["yes", "no", "unclear"]
TIMEOUT_SECONDS = 60.0
MAX_EVIDENCE = 4000
MAX_ANSWER = 2_000_000
TRANSIENT = frozenset({401, 403, 408, 425, 429, 502, 503, 504, 529})
"""Statuses that say nothing about the abilities of a server."""
MODEL_PATHS = frozenset({"chat/completions", "completions", "embeddings"})
MOST_REPAIRS = 3
TOOL: Json = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    },
}
SCHEMA: Json = {
    "type": "json_schema",
    "json_schema": {
        "name": "capital",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"country": {"type": "string"}, "capital": {"type": "string"}},
            "required": ["country", "capital"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one probe. `curl` repeats it. `answer` is the server's answer, without secrets and truncated to a few KB."""

    name: str
    title: str
    outcome: Outcome
    detail: str
    ms: float = 0.0
    status: int | None = None
    curl: str = ""
    answer: str = ""

    def as_json(self) -> Json:
        """Return the finding as it is stored."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold the reply to one probe."""

    status: int
    text: str
    ms: float

    @property
    def ok(self) -> bool:
        """Return whether the status is 200."""
        return self.status == httpx2.codes.OK

    @property
    def body(self) -> Any:
        """Return the decoded JSON; an empty object if it is not an object."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return {}

    def events(self) -> Iterator[Json]:
        """Return the objects of a stream of server-sent events."""
        for line in self.text.split("\n"):
            data = line.removeprefix("data:").strip()
            if line.startswith("data:") and data != "[DONE]":
                try:
                    event = json.loads(data)
                except (ValueError, RecursionError):
                    continue
                if isinstance(event, dict):
                    yield event


@dataclass
class Prober:
    """Send requests to one server. `facts` holds the results so far."""

    row: BackendRow
    model: str
    client: httpx2.AsyncClient
    facts: dict[str, Any] = field(default_factory=dict)
    chat_by: Protocol = field(init=False)
    """The protocol that chat completions are translated to, for a server without them; else empty."""

    def __post_init__(self) -> None:
        self.chat_by = translation_for("chat/completions", self.row.capabilities)
        self.redactor = Redactor([self.row.key, *secret_values(self.row.headers)])

    async def ask(self, path: str, body: Json | None = None) -> Reply:
        """Send GET, or POST with a body; the returned text contains no secrets.

        Raises:
            httpx2.HTTPError: the request failed.
        """
        headers = dict(self.row.headers)
        if self.row.key and not carries_key(headers):
            headers["Authorization"] = f"Bearer {self.row.key}"
        begun = time.monotonic()
        url = f"{self.row.base_url}/{path}"
        raw = bytearray()
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self.client.stream("POST" if body else "GET", url, json=body, headers=headers) as response,
            ):
                async for piece in response.aiter_bytes():
                    raw += piece
                    if len(raw) > MAX_ANSWER:
                        break
        except TimeoutError:
            raise httpx2.ReadTimeout(f"no whole answer within {TIMEOUT_SECONDS:g} s") from None
        return Reply(response.status_code, self.redactor.text(raw.decode(errors="replace")), (time.monotonic() - begun) * 1000)

    def error(self, reply: Reply, body: Json | None) -> BackendError:
        """Return the meaning of a refusal."""
        return refused(reply.status, reply.text.encode(), {}, self.redactor, sent=json.dumps(body).encode())

    def chat(self, content: Any, **options: Any) -> Json:
        """Return the body of a chat request with one message."""
        return {"model": self.model, "messages": [{"role": "user", "content": content}], **options}

    def finding(self, probe: Probe, outcome: Outcome, detail: str, path: str, body: Json | None, reply: Reply | None) -> Finding:
        """Return a finding with the request that led to it."""
        return Finding(
            name=probe.name,
            title=probe.title,
            outcome=outcome,
            detail=self.redactor.text(detail)[:500],
            ms=round(reply.ms, 1) if reply else 0.0,
            status=reply.status if reply else None,
            curl=to_curl(body, self.row.base_url, path, key_variable="API_KEY" if self.row.key else ""),
            answer=reply.text[:MAX_EVIDENCE] if reply else "",
        )


Verdict = tuple[Outcome, str]
Judge = Callable[[Prober, Reply], Verdict]


@dataclass(frozen=True, slots=True)
class Probe:
    """One question: the request, and a function that judges the answer."""

    name: str
    title: str
    path: str
    body: Callable[[Prober], Json | None]
    judge: Judge
    needs_chat: bool = True
    about: tuple[str, ...] = ()
    """Repairs that would take away what the probe asks about."""
    lacks: tuple[str, ...] = ()
    """The capabilities whose absence answers the question, by the names in `refusal_rules.toml`; any where empty."""

    async def run(self, prober: Prober) -> Finding:
        """Send the request and return the finding."""
        path, body = self.path, self.body(prober)
        translated: Protocol = prober.chat_by if path == "chat/completions" and body is not None else ""
        if translated and body is not None:
            translate = messages_from_chat if translated == "messages" else responses_from_chat
            path, body = translated, {**translate(body), "stream": bool(body.get("stream"))}
        try:
            reply, body = await self._asked(prober, path, body)
        except httpx2.HTTPError as error:
            outcome: Outcome = "unclear" if prober.facts.get("reached") else "no"
            return prober.finding(self, outcome, f"{type(error).__name__}: {error}", path, body, None)
        prober.facts["reached"] = True
        if reply.ok:
            outcome, detail = self.judge(prober, _as_chat(reply, translated) if translated else reply)
        else:
            outcome, detail = self._refused(prober, prober.error(reply, body))
        return prober.finding(self, outcome, detail, path, body, reply)

    async def _asked(self, prober: Prober, path: str, body: Json | None) -> tuple[Reply, Json | None]:
        """Ask, and again where the server refuses a parameter that the probe is not about; return the answer and the body that got it."""
        reply = await prober.ask(path, body)
        done: list[str] = []
        while body is not None and not reply.ok and len(done) < MOST_REPAIRS:
            repair = find_repair(prober.error(reply, body), body, [*done, *self.about])
            changed = dict(body)
            if repair is None or not apply(repair, changed):
                break
            done.append(repair)
            body = changed
            reply = await prober.ask(path, body)
        return reply, body

    def _refused(self, prober: Prober, error: BackendError) -> Verdict:
        """Judge a refusal: it is a "no" where it names the capability, or where the same model answered a plain request."""
        if isinstance(error, CapabilityMissing) and error.lacks and self.lacks:
            missing = error.lacks in self.lacks
        elif isinstance(error, CapabilityMissing | PathMissing) or error.status in {405, 501}:
            missing = True
        elif self.path in MODEL_PATHS:
            tells = isinstance(error, RequestRejected | ServerFailed) and self.name != "chat" and bool(prober.facts.get("chat"))
            missing = tells or isinstance(error, BadAnswer)
        else:
            missing = isinstance(error, RequestRejected | ModelMissing | BadAnswer)
        return ("no" if missing and error.status not in TRANSIENT else "unclear"), error.message


def _as_chat(reply: Reply, protocol: Protocol) -> Reply:
    """Return the answer of a server without chat completions as a chat completion, or as the chunks of one."""
    is_anthropic = protocol == "messages"
    if reply.text.startswith(("event:", "data:")):
        writer = ChunkWriter("", include_usage=True)
        decoded = (EventDecoder(writer) if is_anthropic else ChunkDecoder(writer)).feed(reply.text.encode())
        return replace(reply, text=decoded.raw.decode() if decoded else "")
    body = reply.body if isinstance(reply.body, dict) else {}
    return replace(reply, text=json.dumps(message_to_completion(body) if is_anthropic else response_to_completion(body)))


def _choice(reply: Reply) -> Json:
    choices = reply.body.get("choices") if isinstance(reply.body, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else {}
    message = first.get("message") if isinstance(first, dict) else None
    return message if isinstance(message, dict) else {}


def _models(prober: Prober, reply: Reply) -> Verdict:
    try:
        found = read_models(reply.body)
    except PatternError as error:
        return "no", error.message
    prober.facts["windows"] = {info.id: info.context_window for info in found}
    return "yes", f"{len(found)} model{'' if len(found) == 1 else 's'}"


def _chat(prober: Prober, reply: Reply) -> Verdict:
    message = _choice(reply)
    said = message.get("content") or message.get("reasoning_content") or message.get("reasoning")
    prober.facts["chat"] = bool(message)
    return ("yes", f"It said: {str(said)[:100]!r}") if said else ("unclear" if message else "no", "The answer holds no text.")


def _deltas(reply: Reply) -> list[Json]:
    choices = [event["choices"][0] for event in reply.events() if isinstance(event.get("choices"), list) and event["choices"]]
    return [choice for choice in choices if isinstance(choice, dict)]


def _stream(_prober: Prober, reply: Reply) -> Verdict:
    deltas = _deltas(reply)
    finished = any(choice.get("finish_reason") for choice in deltas)
    if not deltas:
        return "no", "It answered without streaming."
    return ("yes" if finished else "unclear"), f"{len(deltas)} chunks, {'with' if finished else 'without'} a finish reason"


def _stream_usage(_prober: Prober, reply: Reply) -> Verdict:
    usage = next((event["usage"] for event in reply.events() if event.get("usage")), None)
    return ("yes", f"{usage.get('total_tokens')} tokens") if isinstance(usage, dict) else ("unclear", "No usage came with the stream.")


def _calls(reply: Reply) -> list[Json]:
    calls = _choice(reply).get("tool_calls")
    return [call.get("function") or {} for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _tools(_prober: Prober, reply: Reply) -> Verdict:
    calls = _calls(reply)
    if not calls:
        return "unclear", "It took the tools and answered without calling one."
    try:
        arguments = json.loads(calls[0].get("arguments") or "")
    except (ValueError, TypeError):
        return "unclear", f"It called {calls[0].get('name')} with broken arguments."
    return "yes", f"It called {calls[0].get('name')}({json.dumps(arguments)})"


def _parallel(_prober: Prober, reply: Reply) -> Verdict:
    calls = _calls(reply)
    return ("yes", f"{len(calls)} calls at once") if len(calls) > 1 else ("unclear", f"{len(calls) or 'no'} call where two were asked for")


def _schema(_prober: Prober, reply: Reply) -> Verdict:
    try:
        value = json.loads(str(_choice(reply).get("content")))
    except ValueError:
        return "unclear", "It took the schema and answered something else."
    fits = isinstance(value, dict) and {"country", "capital"} == set(value)
    return ("yes", json.dumps(value)[:100]) if fits else ("unclear", "Its JSON does not fit the schema.")


def _taken(_prober: Prober, _reply: Reply) -> Verdict:
    return "yes", "It was taken."


def _embeddings(_prober: Prober, reply: Reply) -> Verdict:
    data = reply.body.get("data") if isinstance(reply.body, dict) else None
    vector = data[0].get("embedding") if isinstance(data, list) and data and isinstance(data[0], dict) else None
    return ("yes", f"{len(vector)} dimensions") if isinstance(vector, list) and vector else ("no", "The answer holds no vector.")


def _message(_prober: Prober, reply: Reply) -> Verdict:
    content = reply.body.get("content") if isinstance(reply.body, dict) else None
    return ("yes", f"{len(content)} blocks") if isinstance(content, list) else ("no", "The answer holds no message.")


def _response(_prober: Prober, reply: Reply) -> Verdict:
    output = reply.body.get("output") if isinstance(reply.body, dict) else None
    return ("yes", f"{len(output)} items") if isinstance(output, list) else ("no", "The answer holds no output.")


def _count(_prober: Prober, reply: Reply) -> Verdict:
    tokens = reply.body.get("input_tokens") if isinstance(reply.body, dict) else None
    return ("yes", f"{tokens} tokens") if isinstance(tokens, int) else ("no", "The answer holds no count.")


def _listed(_prober: Prober, reply: Reply) -> Verdict:
    data = reply.body.get("data") if isinstance(reply.body, dict) else None
    return ("yes", f"{len(data)} listed") if isinstance(data, list) else ("no", "No list came back.")


def _embedding_body(prober: Prober) -> Json:
    named = next((name for name, model in prober.row.models.items() if model.capabilities.get("embeddings")), prober.model)
    return {"model": named, "input": ["ping"], "encoding_format": "float"}


def _response_body(prober: Prober) -> Json:
    return {"model": prober.model, "input": SAY_OK, "max_output_tokens": 64, "store": False}


WEATHER = "What is the weather in Paris right now? Use the tool."
TWO_CITIES = "What is the weather in Paris and in Rome right now? Call the tool for both cities at once."
SAY_OK = "Say OK and nothing else."
SHORT: Json = {"max_tokens": 64}
NOTHING: Callable[[Prober], Json | None] = lambda _prober: None  # noqa: E731 - a value in the table below

PROBES: tuple[Probe, ...] = (
    Probe("models", "Reach and list models", "models", NOTHING, _models, needs_chat=False),
    Probe("messages", "Anthropic's Messages", "messages", lambda p: p.chat(SAY_OK, **SHORT), _message, needs_chat=False),
    Probe("count_tokens", "Count tokens", "messages/count_tokens", lambda p: p.chat(SAY_OK), _count, needs_chat=False),
    Probe("responses", "OpenAI's Responses", "responses", _response_body, _response, needs_chat=False),
    Probe("chat", "Chat", "chat/completions", lambda p: p.chat(SAY_OK, **SHORT), _chat, needs_chat=False, lacks=("chat",)),
    Probe("stream", "Stream", "chat/completions", lambda p: p.chat(SAY_OK, stream=True, **SHORT), _stream),
    Probe(
        "stream_usage",
        "Usage in the stream",
        "chat/completions",
        lambda p: p.chat(SAY_OK, stream=True, stream_options={"include_usage": True}, **SHORT),
        _stream_usage,
        about=("without stream_options",),
    ),
    Probe("tools", "Tools", "chat/completions", lambda p: p.chat(WEATHER, tools=[TOOL], max_tokens=256), _tools, lacks=("tools",)),
    Probe(
        "parallel_tool_calls", "Parallel tools", "chat/completions", lambda p: p.chat(TWO_CITIES, tools=[TOOL], max_tokens=256), _parallel
    ),
    Probe(
        "json_schema",
        "JSON schema",
        "chat/completions",
        lambda p: p.chat("Which city is the capital of France?", response_format=SCHEMA, max_tokens=128),
        _schema,
        lacks=("json_schema",),
    ),
    Probe(
        "developer_role",
        "Role developer",
        "chat/completions",
        lambda p: {
            **p.chat(SAY_OK, **SHORT),
            "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": SAY_OK}],
        },
        _taken,
        about=("system for developer", "user for system"),
    ),
    Probe(
        "content_parts",
        "Content in parts",
        "chat/completions",
        lambda p: p.chat([{"type": "text", "text": SAY_OK}], **SHORT),
        _taken,
        about=("text for parts",),
    ),
    Probe("embeddings", "Embeddings", "embeddings", _embedding_body, _embeddings, needs_chat=False),
    Probe("files", "Files", "files", NOTHING, _listed, needs_chat=False),
    Probe("batches", "Batches", "batches", NOTHING, _listed, needs_chat=False),
)
OF_THE_MODEL = frozenset({"chat", "tools", "json_schema"})
OF_THE_SERVER = frozenset(
    {
        "stream_usage",
        "parallel_tool_calls",
        "developer_role",
        "content_parts",
        "files",
        "batches",
        "responses",
        "messages",
        "count_tokens",
        "chat_completions",
    }
)
NO_SUCH_PATH = frozenset({404, 405, 501})


async def probe(row: BackendRow, model: str, on_finding: Callable[[Finding], Awaitable[None]]) -> list[Finding]:
    """Run all probes against a server, one after the other. Without chat, the probes that need it are skipped."""
    found: list[Finding] = []

    async def keep(finding: Finding) -> None:
        found.append(finding)
        await on_finding(finding)

    async with _client(row) as client:
        prober = Prober(row, model, client)
        for one in PROBES:
            if one.needs_chat and not prober.facts.get("chat"):
                await keep(Finding(one.name, one.title, "unclear", "Not asked: chat does not work."))
                continue
            finding = await one.run(prober)
            spoken = {f.name: f.outcome == "yes" for f in found}
            other = translation_for("chat/completions", {**spoken, "chat_completions": False})
            if one.name == "chat" and finding.status in NO_SUCH_PATH and other:
                await keep(replace(finding, name="chat_completions", title=_("Chat completions")))
                prober.chat_by = other
                finding = await one.run(prober)
            await keep(finding)
    await keep(_window(prober))
    return found


def _window(prober: Prober) -> Finding:
    """Return the context window that the server states. Trial requests would cost as many tokens."""
    listed = prober.facts.get("windows", {}).get(prober.model)
    entered = prober.row.models[prober.model].window if prober.model in prober.row.models else None
    if listed or entered:
        return Finding("context_length", "Context length", "yes", f"{listed or entered} tokens, {'as listed' if listed else 'as entered'}")
    return Finding("context_length", "Context length", "unclear", "The server does not say: enter it at the model, so that chats fit.")


def learnt(findings: list[Finding], names: frozenset[str]) -> dict[str, bool]:
    """Return the certain capabilities among those names."""
    return {finding.name: finding.outcome == "yes" for finding in findings if finding.name in names and finding.outcome != "unclear"}


@asynccontextmanager
async def _client(row: BackendRow) -> AsyncGenerator[httpx2.AsyncClient, None]:
    """Return a client with the same address restrictions as the live backend."""
    from webapp.backends.runtime.connection_pools import builtin_transport
    from webapp.patterns.http.transport import make_transport

    transport = builtin_transport() if row.preset == "builtin" else make_transport(row.base_url)
    async with httpx2.AsyncClient(transport=transport, timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False) as client:
        yield client
