"""Complete answers of servers that omit fields which OpenAI's schema requires.

The bytes of a stream pass unchanged if they have all required fields, which a count of a few names shows. Only other events are decoded and
rewritten. No field of a server is removed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import jiter

from webapp.gateway.http import dump
from webapp.patterns.types import Json, Response

EVENT_END = re.compile(rb"(?:\r\n|\n|\r){2}")
CHUNK = b'"choices"'
COMMON = {"index": 0, "finish_reason": None}
CHOICE: dict[str, Json] = {"chat/completions": {**COMMON, "delta": {}}, "completions": {**COMMON, "text": "", "logprobs": None}}
"""Required fields of a chunk's choice, by endpoint."""


class StreamMender:
    """Repair one stream. The added values are the same in each chunk.

    Args:
        path: the endpoint.
        request_id: source of the chunks' id if the server sends none.
        model: the model's name if the server sends none.
    """

    def __init__(self, *, path: str, request_id: str, model: str) -> None:
        self._defaults = _defaults(path, request_id, model, streamed=True)
        self._choice = CHOICE[path]
        self._required = [f'"{name}"'.encode() for name in (*self._choice, *self._defaults)]

    def mend(self, raw: bytes) -> bytes:
        """Return the bytes to pass on."""
        chunks = raw.count(CHUNK)
        for name in self._required:
            if raw.count(name) < chunks:
                return b"".join(map(self._event, events(raw)))
        return raw

    def _event(self, event: bytes) -> bytes:
        chunk = _chunk(event)
        if chunk is None:
            return event
        before = dump(chunk)
        for number, choice in enumerate(chunk["choices"]):
            if isinstance(choice, dict):
                _add(choice, {**self._choice, "index": number})
        after = dump({**self._defaults, **chunk})
        return event if after == before else b"data: " + after + b"\n\n"


def events(raw: bytes) -> Iterator[bytes]:
    """Yield the server-sent events in `raw`, each with its final blank line."""
    start = 0
    for end in EVENT_END.finditer(raw):
        yield raw[start : end.end()]
        start = end.end()
    if start < len(raw):
        yield raw[start:]


def _chunk(event: bytes) -> Json | None:
    """Return the chunk in an event; None for comments, `[DONE]`, errors, and anything else."""
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    try:
        decoded = jiter.from_json(b"\n".join(lines))
    except ValueError:
        return None
    return decoded if isinstance(decoded, dict) and isinstance(decoded.get("choices"), list) else None


def mend_answer(answer: Response, *, path: str, request_id: str, model: str) -> bytes:
    """Return a complete answer with all fields that the schema requires."""
    chat = path == "chat/completions"
    body = dict(answer.body)
    added = _add(body, _defaults(path, request_id, model, streamed=False))
    for number, choice in enumerate(body.get("choices") or ()):
        added += _add(choice, {"index": number, "logprobs": None, "finish_reason": "stop", **({"message": {}} if chat else {"text": ""})})
        if chat and isinstance(choice["message"], dict):
            added += _add(choice["message"], {"role": "assistant", "content": None, "refusal": None})
    return dump(body) if added else answer.raw


def _add(target: Json, defaults: Json) -> int:
    """Add missing fields; return their number."""
    missing = {name: default for name, default in defaults.items() if name not in target}
    target.update(missing)
    return len(missing)


def _defaults(path: str, request_id: str, model: str, *, streamed: bool) -> Json:
    chat = path == "chat/completions"
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{request_id}",
        "object": ("chat.completion.chunk" if streamed else "chat.completion") if chat else "text_completion",
        "created": int(time.time()),
        "model": model,
    }
