"""Format log lines: add the request id, mask secrets, and write JSON where a machine reads them."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

from django.db import InterfaceError, OperationalError

from webapp.core.disk import is_disk_full
from webapp.patterns.redaction import redact_log

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request being handled, also sent as `x-request-id`."""

LINE_BREAKS = re.compile(r"\s*[\r\n\v\f\x85\u2028\u2029]+\s*")
REPEAT_SECONDS = 60.0
MAX_LOGGED = 200


class SecretFilter(logging.Filter):
    """Put the record on one line and mask secrets in its message and its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask secrets, join lines and add the request id."""
        record.msg, record.args = LINE_BREAKS.sub(" ", redact_log(record.getMessage())), None
        if record.exc_info and not record.exc_text:
            record.exc_text = redact_log(logging.Formatter().formatException(record.exc_info))
        record.request_id = request_id.get()
        return True


class RateLimitFilter(logging.Filter):
    """Pass a line that belongs to no request once in `REPEAT_SECONDS`, with the number of repeats left out since."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._logged: dict[tuple[str, str], tuple[float, int]] = {}
        """(time, lines left out since) by logger and message."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop a record that repeats outside of a request."""
        if request_id.get() != "-":
            return True
        key, now = (record.name, record.getMessage()), self._clock()
        since, left_out = self._logged.pop(key, (-REPEAT_SECONDS, 0))
        if now - since < REPEAT_SECONDS:
            self._logged[key] = (since, left_out + 1)
            return False
        if left_out:
            record.msg = f"{record.msg} ({left_out} times more since)"
        self._logged[key] = (now, 0)
        while len(self._logged) > MAX_LOGGED:
            del self._logged[next(iter(self._logged))]
        return True


class NoTraceback(logging.Filter):
    """Keep the message and drop the traceback, for errors that any stranger can cause."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop the traceback."""
        record.exc_info = record.exc_text = None
        return True


class DropDatabaseTracebacks(NoTraceback):
    """Drop the traceback of a page that failed because the database was down or the disk is full: the cause is logged once elsewhere."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop the traceback when the database is unreachable or the disk is full."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, OperationalError | InterfaceError) or is_disk_full(error):
            return super().filter(record)
        return True


class JsonFormatter(logging.Formatter):
    """Format a record as one JSON object: time, level, logger, message, request id, and the exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
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
