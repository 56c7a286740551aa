"""Stream the Batch API's input: write requests, validate a whole file, split it at the limits.

Memory holds at most one line's content, whatever the size of the file. `batch.results` reads and writes the output; `batch.remote` runs a
job on a server.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import jiter

from webapp.patterns.openai.request_schema import RESERVED
from webapp.patterns.types import Json

ENDPOINTS: Final = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/embeddings": "input",
    "/v1/responses": "input",
    "/v1/messages": "messages",
}
"""The endpoints of a batch, and the required field of each body."""

REMOTE_DISCOUNT: Final = 0.5
"""The cost of a remote batch as a share of the price of individual requests."""

TOO_LARGE: Final = frozenset({"too_many_tasks", "file_too_large"})
"""The error codes that splitting a file fixes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one input file."""

    lines: int = 50_000
    bytes: int = 200 * 1024 * 1024
    custom_id_chars: int = 512
    line_bytes: int = 32 * 1024 * 1024


LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class LineError:
    """One error of an input file, in OpenAI's words. `line` counts from 1; None for the whole file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None

    def as_json(self) -> Json:
        """Return the error as OpenAI's batch object lists it."""
        return {"code": self.code, "message": self.message, "line": self.line, "param": self.param}


@dataclass(frozen=True, slots=True)
class Line:
    """The position of one request in its file: `offset` and `length` in bytes, without the line's end."""

    number: int
    custom_id: str
    offset: int
    length: int


@dataclass(slots=True)
class Validated:
    """The result of one pass over an input file.

    `errors` holds the first `max_errors` of `error_count`. `lines` holds the requests that a batch may have, of `requests` in total.
    """

    endpoint: str = ""
    model: str = ""
    size: int = 0
    requests: int = 0
    lines: list[Line] = field(default_factory=list)
    errors: list[LineError] = field(default_factory=list)
    error_count: int = 0

    @property
    def ok(self) -> bool:
        """Return whether the file has no errors."""
        return self.error_count == 0

    @property
    def only_too_large(self) -> bool:
        """Return whether its size is the only error, so that `split` makes valid files."""
        return not self.ok and {error.code for error in self.errors} <= TOO_LARGE


def validate(file: BinaryIO, *, endpoint: str = "", limits: Limits = LIMITS, max_errors: int = 1000) -> Validated:
    """Check every line and report all errors, in one pass over `file`.

    Args:
        file: a binary file at its start.
        endpoint: the path that every line must call; empty for the first line's.
        max_errors: maximum number of stored errors; all are counted.
    """
    check = _Validation(Validated(endpoint=endpoint), limits, max_errors)
    for number, offset, raw in _numbered(file, limits.line_bytes):
        check.line(number, offset, raw)
    check.end(file.tell())
    return check.result


def _numbered(file: BinaryIO, most: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield (number, offset, bytes) of each line; of an overlong line only its first `most` + 1 bytes."""
    number = offset = 0
    while raw := file.readline(most + 1):
        number += 1
        length = len(raw)
        while len(raw) > most and not raw.endswith(b"\n") and (rest := file.readline(most)):
            length += len(rest)
            if rest.endswith(b"\n"):
                break
        yield number, offset, raw
        offset += length


class _Validation:
    """One pass over one file."""

    def __init__(self, result: Validated, limits: Limits, max_errors: int) -> None:
        self.result = result
        self._limits = limits
        self._max_errors = max_errors
        self._seen: dict[str, int] = {}
        self._blank = range(0)

    def line(self, number: int, offset: int, raw: bytes) -> None:
        text = raw.rstrip(b"\r\n")
        if not text.strip():
            self._blank = range(self._blank.start or number, number + 1)  # an error only when something follows
            return
        for blank in self._blank:
            self._add("invalid_json_line", "This line is empty: each line must be one JSON object.", blank)
        self._blank = range(0)
        request = self._parsed(number, text)
        if request is not None:
            self._request(number, offset, len(text), request)

    def end(self, size: int) -> None:
        result, limits = self.result, self._limits
        result.size = size
        if not result.requests and not result.errors:
            self._add("empty_file", "The input file is empty. Please ensure that the batch file contains at least one request.")
        if result.size > limits.bytes:
            self._add("file_too_large", f"The batch input file is larger than the {limits.bytes} bytes maximum. Split it and try again.")
        if result.requests > limits.lines:
            message = f"The batch input file has {result.requests} requests, the maximum is {limits.lines}. Split it and try again."
            self._add("too_many_tasks", message, limits.lines + 1)

    def _add(self, code: str, message: str, line: int | None = None, param: str | None = None) -> None:
        self.result.error_count += 1
        if len(self.result.errors) < self._max_errors:
            self.result.errors.append(LineError(code, message, line, param))

    def _parsed(self, number: int, text: bytes) -> Json | None:
        if len(text) > self._limits.line_bytes:
            self._add("invalid_json_line", f"This line is longer than {self._limits.line_bytes} bytes.", number)
            return None
        if text.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            why = "This line starts with a byte-order mark: save the file as UTF-8 without one."
            self._add("invalid_json_line", why, number)
            return None
        try:
            request = jiter.from_json(text, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
        except ValueError as error:
            self._add("invalid_json_line", f"This line is not parseable as valid JSON: {error}.", number)
            return None
        if not _finite(request):
            self._add("invalid_json_line", "This line has a number that is too large.", number)
            return None
        if not isinstance(request, dict):
            self._add("invalid_json_line", "This line is not a JSON object.", number)
            return None
        return request

    def _request(self, number: int, offset: int, length: int, request: Json) -> None:
        self.result.requests += 1
        custom_id = self._custom_id(number, request)
        self._method(number, request)
        self._url(number, request)
        self._body(number, request)
        if len(self.result.lines) < self._limits.lines:
            self.result.lines.append(Line(number, custom_id, offset, length))

    def _missing(self, number: int, param: str) -> None:
        self._add("missing_required_parameter", f"Missing required parameter: '{param}'.", number, param)

    def _custom_id(self, number: int, request: Json) -> str:
        value = request.get("custom_id")
        if value is None:
            self._missing(number, "custom_id")
        elif not isinstance(value, str) or not value or len(value) > self._limits.custom_id_chars or "\0" in value:
            most = self._limits.custom_id_chars
            self._add("invalid_request", f"The custom_id must be a string of 1 to {most} characters.", number, "custom_id")
        elif self.result.requests <= self._limits.lines and self._seen.setdefault(value, number) != number:
            message = (
                f"The custom_id '{value}' for this request is a duplicate of another request (line {self._seen[value]}). "
                "The custom_id parameter must be unique for each request in a batch."
            )
            self._add("duplicate_custom_id", message, number, "custom_id")
        return value if isinstance(value, str) else ""

    def _method(self, number: int, request: Json) -> None:
        if "method" not in request:
            self._missing(number, "method")
        elif request["method"] != "POST":
            self._add("invalid_method", "The method of a batch request must be 'POST'.", number, "method")

    def _url(self, number: int, request: Json) -> None:
        url = request.get("url")
        if url is None:
            self._missing(number, "url")
        elif not self.result.endpoint and isinstance(url, str) and url in ENDPOINTS:
            self.result.endpoint = url
        elif url != self.result.endpoint:
            message = "The URL provided for this request does not match the batch endpoint."
            if not self.result.endpoint:
                message = f"The URL must be one of {', '.join(ENDPOINTS)}."
            self._add("invalid_url", message, number, "url")

    def _body(self, number: int, request: Json) -> None:
        body = request.get("body")
        if body is None:
            self._missing(number, "body")
        elif not isinstance(body, dict):
            self._add("invalid_request", "The body must be a JSON object.", number, "body")
        else:
            self._model(number, body)
            for param, message in _body_problems(self.result.endpoint, body):
                if message:
                    self._add("invalid_request", message, number, param)
                else:
                    self._missing(number, param)

    def _model(self, number: int, body: Json) -> None:
        model = body.get("model")
        if model is None:
            self._missing(number, "body.model")
        elif not isinstance(model, str) or not model:
            self._add("invalid_request", "The model must be a non-empty string.", number, "body.model")
        elif not self.result.model:
            self.result.model = model
        elif model != self.result.model:
            message = (
                f"The model `{model}` provided for this request does not match the rest of the batch. "
                "Each batch must contain requests for a single model."
            )
            self._add("mismatched_model", message, number, "body.model")


def _finite(value: Any) -> bool:
    """Return whether the value can be written as JSON again: 1e999 is read as infinity."""
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _body_problems(endpoint: str, body: Json) -> Iterator[tuple[str, str]]:
    """Yield (param, message) for each error of a body; an empty message means that the field is missing."""
    name = ENDPOINTS.get(endpoint, "")
    if name:
        value = body.get(name)
        if value is None:
            yield f"body.{name}", ""
        elif not _usable(name, value):
            yield f"body.{name}", f"The field '{name}' is empty or of the wrong type."
    if endpoint == "/v1/messages" and body.get("max_tokens") is None:
        yield "body.max_tokens", ""
    if body.get("stream"):
        yield "body.stream", "Streaming is not possible in a batch: leave 'stream' out."
    for reserved in RESERVED:
        if reserved in body:
            yield f"body.{reserved}", f"The field '{reserved}' is not allowed."


def _usable(name: str, value: Any) -> bool:
    if name == "messages":
        return isinstance(value, list) and bool(value) and all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in value)
    return isinstance(value, str | list) and bool(value)


def request_line(custom_id: str, body: Json, *, endpoint: str) -> bytes:
    """Return one request as a line of JSONL, with its end."""
    return compact({"custom_id": custom_id, "method": "POST", "url": endpoint, "body": body}) + b"\n"


def write(file: BinaryIO, requests: Iterable[tuple[str, Json]], *, endpoint: str) -> int:
    """Write (custom_id, body) pairs as an input file, one at a time; return their number."""
    count = 0
    for custom_id, body in requests:
        file.write(request_line(custom_id, body, endpoint=endpoint))
        count += 1
    return count


def lines_of(file: BinaryIO, limits: Limits = LIMITS) -> Iterator[bytes]:
    """Yield the non-blank lines of a file, each with its end; an overlong one, which is not a request, in pieces."""
    while line := file.readline(limits.line_bytes):
        if line.strip():
            yield line if line.endswith(b"\n") else line + b"\n"


def split(lines: Iterable[bytes], *, limits: Limits = LIMITS) -> Iterator[tuple[int, bytes]]:
    """Yield (part, line) pairs: each line, and the number, from 0, of the file for it, so that every file is within the limits.

    Raises:
        ValueError: a single line is longer than a file may be.
    """
    part = count = size = 0
    for line in lines:
        if len(line) > limits.bytes:
            raise ValueError(f"one line has {len(line)} bytes, and a file may have {limits.bytes}")
        if count and (count == limits.lines or size + len(line) > limits.bytes):
            part, count, size = part + 1, 0, 0
        count, size = count + 1, size + len(line)
        yield part, line


def with_model(line: bytes, model: str) -> bytes:
    """Return a request line with the server's name of the model in place of a route's name."""
    request = jiter.from_json(line)
    return compact({**request, "body": {**request["body"], "model": model}}) + b"\n"


def compact(value: Any) -> bytes:
    """Return JSON on one line, without spaces. Lone surrogates stay as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "surrogatepass")
