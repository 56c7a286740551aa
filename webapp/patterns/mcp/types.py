"""Describe tool servers, their tools, and the outcome of a call, apart from the SDK's types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from webapp.patterns.errors import PatternError
from webapp.patterns.images import Image
from webapp.patterns.types import Json

if TYPE_CHECKING:
    import httpx2

MAX_RESULT_CHARS = 50_000
CONNECT_SECONDS = 20.0
CALL_SECONDS = 60.0


class ToolServerError(PatternError):
    """A tool server cannot be reached, broke the protocol, or exceeded a limit. The message is for people and for the model."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """Say how to reach a tool server: by `url`, or by a `command` that talks over its standard input and output.

    Args:
        label: the server's name, which begins the names of its tools.
        headers: sent with each HTTP request. They may hold secrets.
        environment: variables for the command, besides `PATH`, `HOME` and the like. They may hold secrets.
        public: refuse addresses of this machine and of private networks.
        authorization: an OAuth flow for the HTTP requests.
        connect_seconds, call_seconds: limits of time.
        result_chars: the longest result that is kept of a call.
    """

    label: str
    url: str = ""
    command: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    public: bool = False
    authorization: httpx2.Auth | None = field(default=None, compare=False)
    connect_seconds: float = CONNECT_SECONDS
    call_seconds: float = CALL_SECONDS
    result_chars: int = MAX_RESULT_CHARS


@dataclass(frozen=True, slots=True)
class ToolInfo:
    """Describe a tool as its server lists it. `read_only` and `destructive` are the server's claims."""

    name: str
    title: str
    description: str
    schema: Json
    read_only: bool = False
    destructive: bool = True


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Describe a server after the handshake."""

    name: str
    version: str
    protocol: str
    instructions: str = ""


@dataclass(frozen=True, slots=True)
class CallResult:
    """The outcome of a call: bounded text for the model, whether the server calls it an error, and images."""

    text: str
    is_error: bool = False
    structured: Any = None
    images: tuple[Image, ...] = ()
