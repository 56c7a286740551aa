"""Send the bytes of a request on where only its model differs, since encoding a conversation of 100,000 tokens costs milliseconds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_MODEL: Final = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')
_ESCAPED_LETTER: Final = b"\\u006"
"""A key may be written with escapes. `"\\u006dodel"` is `"model"`; its letters have the codes 64 to 6f."""
_MISSING: Final = object()
_REWRITTEN: Final = frozenset({"model", "stream_options"})
_ASK_FOR_USAGE: Final = b',"stream_options":{"include_usage":true}}'


class RawBody:
    """A JSON object as it arrived, and what was decoded from it.

    Args:
        raw: UTF-8 JSON of one object, without duplicate keys.
        body: the decoded object. Nothing may change it afterwards; changed copies of it are fine.
    """

    __slots__ = ("_body", "_raw")

    def __init__(self, raw: bytes, body: Mapping[str, Any]) -> None:
        self._raw = raw
        self._body = body

    def encoded(self, sent: Mapping[str, Any]) -> bytes | None:
        """Return the bytes of `sent`; None where it must be encoded.

        `sent` is a changed copy of the body. Its values are compared by identity, which is exact and costs nothing. Only another model, and
        the usage that a stream asks for, are written into the bytes.
        """
        body = self._body
        for name, value in body.items():
            if sent.get(name, _MISSING) is not value and name not in _REWRITTEN and not (name == "stream" and value is False):
                return None
        asks_for_usage = "stream_options" not in body and sent.get("stream_options") == {"include_usage": True}
        if not asks_for_usage and sent.get("stream_options") != body.get("stream_options"):
            return None
        if not sent.keys() <= body.keys() | ({"stream_options"} if asks_for_usage else set()):
            return None
        raw = self._raw if sent["model"] == body["model"] else self._with_model(sent["model"])
        return raw.rstrip()[:-1] + _ASK_FOR_USAGE if raw and asks_for_usage else raw

    def _with_model(self, model: str) -> bytes | None:
        """Return the bytes with another model; None unless exactly one place can be the model.

        Quotation marks inside a JSON text are escaped, so `"model"` is a key, or the end of a text. Then there are two places.
        """
        raw = self._raw
        if raw.count(b'"model"') != 1 or _ESCAPED_LETTER in raw:
            return None
        found = _MODEL.search(raw)
        return found and raw[: found.start(1)] + json.dumps(model, ensure_ascii=False).encode() + raw[found.end(1) :]
