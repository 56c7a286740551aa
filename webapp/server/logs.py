"""Logs: a request id on every line, secrets on none, JSON where machines read."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

from django.db import InterfaceError, OperationalError

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request being handled, also sent as `x-request-id`."""

SECRETS = re.compile(
    r"(?P<keep>(?:bearer|api[_-]?key|token|password|secret)[\"']?\s*[:= ]\s*[\"']?)(?P<secret>[^\s\"',;&]{6,})"
    r"|(?<![\w-])(?:sk|pb|pk|hf|gsk)[-_][A-Za-z0-9_-]{8,}",
    re.IGNORECASE,
)
MASK = "[secret]"
LINE_BREAKS = re.compile(r"\s*[\r\n\v\f\x85\u2028\u2029]+\s*")
REPEAT_SECONDS = 60.0
MAX_SAID = 200


def without_secrets(text: str) -> str:
    """`text` with what looks like a key, token or password masked."""
    return SECRETS.sub(lambda found: f"{found['keep'] or ''}{MASK}", text)


class SecretFilter(logging.Filter):
    """Formats the record on one line and masks secrets, in the message and in the exception's text."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = LINE_BREAKS.sub(" ", without_secrets(record.getMessage())), None
        if record.exc_info and not record.exc_text:
            record.exc_text = without_secrets(logging.Formatter().formatException(record.exc_info))
        record.request_id = request_id.get()
        return True


class RateLimitFilter(logging.Filter):
    """Lets a line that is no request's through once in `REPEAT_SECONDS`, and says how many it left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}
        """(time, lines left out since) by logger and message."""

    def filter(self, record: logging.LogRecord) -> bool:
        if request_id.get() != "-":
            return True
        key, now = (record.name, record.getMessage()), self._clock()
        since, left_out = self._said.pop(key, (-REPEAT_SECONDS, 0))
        if now - since < REPEAT_SECONDS:
            self._said[key] = (since, left_out + 1)
            return False
        if left_out:
            record.msg = f"{record.msg} ({left_out} times more since)"
        self._said[key] = (now, 0)
        while len(self._said) > MAX_SAID:
            del self._said[next(iter(self._said))]
        return True


class NoTraceback(logging.Filter):
    """Leaves the message: for what strangers cause as often as they like."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = record.exc_text = None
        return True


class DropDatabaseTracebacks(NoTraceback):
    """Leaves the traceback out where a page failed because the database is away; whoever waits for it says why it is."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return super().filter(record) if isinstance(error, OperationalError | InterfaceError) else True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request id, and the exception."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", "-"),
        }
        if record.exc_text:
            line["exception"] = record.exc_text
        return json.dumps(line, ensure_ascii=False)
