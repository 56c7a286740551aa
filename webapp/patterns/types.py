"""Define the types that all patterns share: requests, deltas, tool calls, usage, attempts.

Messages, tools, and bodies stay plain JSON objects of OpenAI's schema, unknown fields included, because they come from and go to other
programs. Data that Patchbay itself reads often has a type here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from webapp.patterns.openai.thinking import split_parts, split_whole

if TYPE_CHECKING:
    from webapp.patterns.openai.raw_body import RawBody

Json = dict[str, Any]
Message = dict[str, Any]
"""A chat message in OpenAI's schema: `role`, `content`, and by role `tool_calls`, `tool_call_id`, `name`."""

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


Protocol = Literal["", "messages", "responses"]
"""The protocol of a request or an answer: chat completions where empty. The others are named after their path below `/v1`."""


@dataclass(frozen=True, slots=True)
class Native:
    """A request as the caller wrote it in another protocol than chat completions. A server that speaks the protocol gets this body.

    `untranslatable` says why no chat completion can stand for it: then only servers that speak the protocol are asked. `headers` go
    with the body to such servers, names in lower case.
    """

    protocol: Protocol
    body: Mapping[str, Any]
    untranslatable: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of a form. `name` is the form field; `filename` and `content_type` are the caller's words."""

    name: str
    filename: str
    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart form: texts in their order, names may repeat, and files. `digest` is the same for the same contents."""

    fields: tuple[tuple[str, str], ...]
    files: tuple[FormFile, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Request:
    """One call to an OpenAI-compatible API, before a backend and a model are chosen.

    `path` is the endpoint below `/v1`. `body` is the caller's JSON body; the step that sends it sets `model` and `stream`. A caller of
    another protocol provides `native`; `body` is then its translation to chat completions. Any change of the body except the model drops
    `native`, so that the change reaches every server. A request with files has a `form`; its texts are also in `body`.
    """

    body: Mapping[str, Any]
    path: str = "chat/completions"
    native: Native | None = None
    form: Form | None = None
    may_truncate: bool = True
    """Whether a conversation that overflows every window may be cut; otherwise the caller is told."""
    session: str = ""
    """What ties the request to earlier ones, e.g. a conversation: a sticky chain keeps it on one server. It is not sent."""
    raw: RawBody | None = field(default=None, compare=False, repr=False)
    """The bytes that `body` was decoded from, which are sent again where only the model differs."""

    @classmethod
    def chat(cls, messages: Sequence[Message], *, tools: Sequence[Json] = (), **options: Any) -> Request:
        """Return a chat completion request. Options that are None are omitted, because some servers answer 500 to an explicit null."""
        body: Json = {"messages": list(messages)}
        if tools:
            body["tools"] = list(tools)
        body.update({name: value for name, value in options.items() if value is not None})
        return cls(body)

    @classmethod
    def embedding(cls, texts: Sequence[str], **options: Any) -> Request:
        """Return a request for embeddings of `texts` as floats (servers ignore `base64` too often)."""
        return cls({"input": list(texts), "encoding_format": "float", **options}, path="embeddings")

    @property
    def messages(self) -> list[Message]:
        """Return the conversation, oldest first; empty for other endpoints."""
        return list(self.body.get("messages") or [])

    def with_messages(self, messages: Sequence[Message]) -> Request:
        """Return a copy with another conversation."""
        return replace(self, body={**self.body, "messages": list(messages)}, native=None, form=None, raw=None)

    def with_options(self, **options: Any) -> Request:
        """Return a copy with fields of the body set, or removed if None."""
        body = {**self.body, **options}
        for name, value in options.items():
            if value is None:
                del body[name]
        native = self.native if options.keys() <= {"model"} else None
        return replace(self, body=body, native=native)


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A fragment of one tool call, by `index`. The decoder has already repaired missing and repeated indexes and ids."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete tool call. `arguments` is the model's JSON text, which may be broken."""

    id: str
    name: str
    arguments: str

    def as_message_part(self) -> Json:
        """Return the entry for an assistant message's `tool_calls`."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a call. They add up over turns and attempts."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    """The server did not report them, wholly or in part; they are estimated."""

    @property
    def total_tokens(self) -> int:
        """Return the sum of prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated or other.estimated,
        )


NO_USAGE: Final = Usage()
"""No tokens counted or reported."""


@dataclass(frozen=True, slots=True)
class Delta:
    """The additions of one chunk to one choice. Empty fields add nothing."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish_reason: str = ""
    usage: Usage | None = None
    """Total counts so far, not increments. A later value replaces an earlier one."""
    choice: int = 0
    was_reasoning: bool = False
    """The text of this choice before this delta was reasoning: its closing tag came without an opening one."""

    @property
    def has_content(self) -> bool:
        """Return whether a reader would see anything. Before the first content a chain may still fall back."""
        return bool(self.text or self.reasoning or self.refusal or self.tool_calls)


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """A piece of a stream: the unchanged server-sent events in `raw` for a relay, and their meaning in `deltas`.

    `switch` marks the point where a chain moved to another step in mid-stream; such a chunk holds nothing else. "restart" means that
    everything before it is void, "continue" that another step writes the rest. `protocol` is that of `raw`. `content_type` is set if `raw`
    is neither JSON nor events: audio, plain text.
    """

    raw: bytes
    deltas: tuple[Delta, ...]
    switch: Literal["", "restart", "continue"] = ""
    protocol: Protocol = ""
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer to a request that did not stream. `body` is the decoded `raw`, in `protocol`.

    `usage` is set for servers of another protocol; chat completions have it in their body. `content_type` is set if `raw` is not JSON;
    `body` is then empty.
    """

    raw: bytes
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)
    protocol: Protocol = ""
    usage: Usage | None = None
    content_type: str = ""

    @property
    def message(self) -> Message:
        """Return the message of the first choice."""
        return dict(self.body["choices"][0].get("message") or {})

    @property
    def text(self) -> str:
        """Return the answer of the first choice, without reasoning."""
        content = self.message.get("content")
        if isinstance(content, list):
            return split_parts(content)[1]
        return split_whole(content)[1] if isinstance(content, str) else ""

    @property
    def finish_reason(self) -> str:
        """Return the finish reason of the first choice."""
        return str(self.body["choices"][0].get("finish_reason") or "")


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that a backend lists. `context_window` is in tokens, if the server reports it."""

    id: str
    context_window: int | None = None
    owned_by: str = ""


Outcome = Literal["running", "ok", "failed", "skipped", "cancelled", "partial"]


@dataclass(slots=True)
class Attempt:
    """One call of one step, with its outcome. It is shown under the answer, in the admin, and in the gateway's headers.

    `why` is text for users without secrets. `error` is a class name of `patterns.errors`. Times are in milliseconds.
    """

    backend: str
    model: str
    outcome: Outcome = "running"
    why: str = ""
    detail: str = ""
    """The server's full text for administrators, where `why` leaves out paths, traces or configuration."""
    error: str = ""
    status: int | None = None
    started: float = field(default_factory=time.time)
    first_token_ms: float | None = None
    duration_ms: float | None = None
    usage: Usage = NO_USAGE
    cost: float | None = None
    """In the currency of the backend's prices; None without prices."""
    request: Json | None = None
    """The exact body that was sent, for "copy as curl"."""
    path: str = "chat/completions"
    """The base URL of the request."""
    base_url: str = ""


class AttemptLog:
    """The attempts of one request in order, updated while it runs.

    Args:
        on_change: called after each change, so that a page can show the backend that is being called.

    Attributes:
        answer: the parts of the answer's text, if its observers asked for it by setting an empty list; None keeps no text.
        mirrored: whether a copy of the request goes to another backend after its end.
    """

    def __init__(self, on_change: Callable[[Attempt], None] | None = None) -> None:
        self.attempts: list[Attempt] = []
        self.waiting = ""
        self.answer: list[str] | None = None
        self.mirrored = False
        self._on_change = on_change

    def add(self, attempt: Attempt) -> Attempt:
        """Add an attempt and report it."""
        self.attempts.append(attempt)
        self.changed(attempt)
        return attempt

    def changed(self, attempt: Attempt) -> None:
        """Report a changed attempt to the listener."""
        if self._on_change:
            self._on_change(attempt)

    def wait(self, text: str) -> None:
        """Record that the request waits, and for what. An empty text ends the wait."""
        self.waiting = text
        if self.attempts:
            self.changed(self.attempts[-1])

    @property
    def served_by(self) -> Attempt | None:
        """Return the attempt whose content the caller got: the last that is running, ok, partial, or cancelled."""
        return next((a for a in reversed(self.attempts) if a.outcome not in {"failed", "skipped"}), None)

    @property
    def usage(self) -> Usage:
        """Return the tokens of all attempts."""
        return sum((a.usage for a in self.attempts), Usage())

    @property
    def cost(self) -> float | None:
        """Return the cost of all attempts, or None when no price is known."""
        costs = [a.cost for a in self.attempts if a.cost is not None]
        return sum(costs) if costs else None
