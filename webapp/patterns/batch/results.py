"""Stream the Batch API's output: read and write lines of output and error files, and join them with the input by custom_id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jiter

from webapp.patterns.batch.input_file import compact
from webapp.patterns.openai.decoder import read_usage
from webapp.patterns.types import Json, Usage


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of one request, from an output or an error file.

    `body` is the response's body, if there was a response. `code` and `message` give the error, if any.
    """

    custom_id: str
    status: int | None
    body: Any
    code: str = ""
    message: str = ""
    request_id: str = ""

    @property
    def ok(self) -> bool:
        """Return whether the row has a status from 200 to 299 and no error."""
        return not self.code and self.status is not None and 200 <= self.status < 300

    @property
    def usage(self) -> Usage:
        """Return the tokens that the response reports; zero without a report."""
        return (read_usage(self.body) if isinstance(self.body, dict) else None) or Usage()


def read_results(lines: Iterable[bytes]) -> Iterator[BatchResult]:
    """Yield the results of an output or error file.

    Lines that are not results (blank, broken, truncated) are skipped: their rows are still open.
    """
    for line in lines:
        result = read_result(line)
        if result is not None:
            yield result


def read_result(line: bytes) -> BatchResult | None:
    """Parse one line; return None if it is not a result."""
    try:
        row = jiter.from_json(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("custom_id"), str):
        return None
    response: Json = row["response"] if isinstance(row.get("response"), dict) else {}
    status = response.get("status_code")
    result = BatchResult(
        custom_id=row["custom_id"],
        status=status if isinstance(status, int) else None,
        body=response.get("body"),
        request_id=str(response.get("request_id") or ""),
    )
    code, message = _failure(row.get("error"), result)
    return replace(result, code=code, message=message)


def _failure(error: Any, result: BatchResult) -> tuple[str, str]:
    if result.status is not None and not 200 <= result.status < 300 and isinstance(result.body, dict):
        error = result.body.get("error") or error
    if isinstance(error, dict):
        return str(error.get("code") or error.get("type") or "error"), str(error.get("message") or "")
    if error:
        return "error", str(error)
    if result.status is None:
        return "no_response", "The result has neither a response nor an error."
    return ("", "") if 200 <= result.status < 300 else (f"http_{result.status}", "")


def join(custom_ids: Iterable[str], results: Iterable[BatchResult]) -> Iterator[tuple[str, BatchResult | None]]:
    """Yield each custom_id of the input with its result, in input order; None without a result (yet): expired, cancelled, lost.

    A repeated custom_id keeps its first successful result.
    """
    found: dict[str, BatchResult] = {}
    for result in results:
        known = found.get(result.custom_id)
        if known is None or (result.ok and not known.ok):
            found[result.custom_id] = result
    for custom_id in custom_ids:
        yield custom_id, found.get(custom_id)


def output_line(request_id: str, custom_id: str, *, status: int | None, raw: bytes, error: Json | None = None) -> bytes:
    """Return a line of an output or error file from an unchanged response body (`raw`: JSON on one line; empty without a response)."""
    head = compact({"id": request_id, "custom_id": custom_id})[:-1]
    response = b"null"
    if raw and status is not None:
        response = b'{"status_code":%d,"request_id":%b,"body":%b}' % (status, compact(request_id), raw)
    return b'%b,"response":%b,"error":%b}\n' % (head, response, compact(error))


def on_one_line(raw: bytes) -> bytes:
    """Return JSON on one line. Strings escape line breaks, so breaks occur only between tokens."""
    return raw.replace(b"\r", b" ").replace(b"\n", b" ")
