"""Endpoints whose requests and answers pass as they came: moderation, reranking, audio and images."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from webapp.patterns.errors import BadAnswer
from webapp.patterns.openai.normalize import encoded
from webapp.patterns.types import Form, Json, Protocol, Request, Response, StreamChunk, Usage

RELAYED: Final = frozenset(
    {
        "moderations",
        "rerank",
        "audio/transcriptions",
        "audio/translations",
        "audio/speech",
        "images/generations",
        "images/edits",
        "images/variations",
    }
)
_RESULTS: Final = {"moderations": ("results",), "rerank": ("results", "data"), "images/generations": ("data",)}
"""The fields of which a good answer has one, by path."""
_UNSAFE: Final = re.compile(r'["\r\n]')


class RelayExchange:
    """A request that a server gets as the caller wrote it, with the step's model."""

    protocol: Protocol = ""
    opaque = True

    def __init__(self, request: Request) -> None:
        self.path = request.path
        self.body: Json = {name: value for name, value in request.body.items() if value is not None}
        self.headers: Mapping[str, str] = {}
        self._form = request.form
        self._boundary = uuid.uuid4().hex
        if request.form is not None:
            self.headers = {"content-type": f"multipart/form-data; boundary={self._boundary}"}

    def content(self) -> bytes:
        """Return the bytes to send: a multipart form where the request has files, else JSON."""
        if self._form is None:
            return encoded(self.body)
        return form_content(self._form, self._boundary, model=str(self.body.get("model") or ""))

    def decoder(self) -> RawDecoder:
        """Return a decoder that passes bytes on."""
        return RawDecoder()

    def as_events(self, body: Json) -> bytes:
        """Return a whole answer as it is."""
        return encoded(body)

    def read(self, response: Response) -> Response:
        """Check that the answer holds results, and take its usage.

        Raises:
            BadAnswer: it does not.
        """
        wanted = _RESULTS.get(self.path)
        if wanted and not any(isinstance(response.body.get(name), list) for name in wanted):
            raise BadAnswer(f"The answer holds no {wanted[0]}.", status=200)
        usage = read_usage(response.body)
        return Response(response.raw, response.body, response.headers, "", usage, response.content_type)


class RawDecoder:
    """Passes the bytes of an answer on as they come."""

    def __init__(self) -> None:
        self.done = False
        self.finished = False
        self.error: Json | None = None
        self._began = False

    def feed(self, data: bytes) -> StreamChunk | None:
        """Return the bytes."""
        self._began = True
        return StreamChunk(data, ())

    def close(self) -> StreamChunk | None:
        """Note that the answer is whole, unless there was none."""
        self.finished = self._began
        return None


def read_usage(body: Mapping[str, Any]) -> Usage | None:
    """Return the tokens of an answer; None where the server counted none.

    Transcriptions and images count `input_tokens` and `output_tokens`, rerankers `total_tokens` alone or `billed_units` in `meta`.
    """
    usage = body.get("usage")
    if not isinstance(usage, dict):
        meta = body.get("meta")
        usage = (meta.get("tokens") or meta.get("billed_units")) if isinstance(meta, dict) else None
    if not isinstance(usage, dict):
        return None
    output = _count(usage.get("output_tokens") or usage.get("completion_tokens"))
    prompt = _count(usage.get("input_tokens") or usage.get("prompt_tokens")) or max(0, _count(usage.get("total_tokens")) - output)
    return Usage(prompt, output) if prompt or output else None


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e15 else 0


def form_content(form: Form, boundary: str, *, model: str) -> bytes:
    """Return the bytes of a multipart form, with another model."""
    fields = [(name, value) for name, value in form.fields if name != "model"]
    parts = [_part(boundary, name, value.encode("utf-8", "replace")) for name, value in [("model", model), *fields]]
    parts += [_part(boundary, file.name, file.content, filename=file.filename, content_type=file.content_type) for file in form.files]
    return b"".join([*parts, b"--%b--\r\n" % boundary.encode()])


def _part(boundary: str, name: str, content: bytes, *, filename: str | None = None, content_type: str = "") -> bytes:
    disposition = f'form-data; name="{_quoted(name)}"' + (f'; filename="{_quoted(filename)}"' if filename is not None else "")
    lines = [f"--{boundary}", f"Content-Disposition: {disposition}"]
    if filename is not None:
        lines.append(f"Content-Type: {_UNSAFE.sub(' ', content_type) or 'application/octet-stream'}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + content + b"\r\n"


def _quoted(text: str) -> str:
    """Return a name as a header may carry it, escaped as browsers do."""
    return _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", text)
