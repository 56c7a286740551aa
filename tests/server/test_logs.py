"""Logs carry the request id and never a secret."""

from __future__ import annotations

import io
import json
import logging

import httpx2
import pytest
from django.db import OperationalError

from tests.live import Live
from webapp.patterns.redaction import redact_log
from webapp.server.logs import (
    REPEAT_SECONDS,
    DropDatabaseTracebacks,
    JsonFormatter,
    RateLimitFilter,
    SecretFilter,
    request_id,
)

SECRETS = (
    "pb-0123456789abcdef",
    "sk-proj-abcdefghijklmnop",
    "very-secret-value",
    "hunter2hunter2",
    "abcdefghijkl",
    "Abcdefghijklmnop",
)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer pb-0123456789abcdef",
        "the key sk-proj-abcdefghijklmnop was refused",
        '{"api_key": "very-secret-value"}',
        "password=hunter2hunter2",
        "api-key: 'abcdefghijkl'",
        "failed with xai-Abcdefghijklmnopqrstuvwx12",
        "nvapi-Abcdefghijklmnopqrstuvwx12 was refused",
        "the restricted key rk_live_Abcdefghijklmnop",
    ],
)
def test_secrets_are_masked(text: str) -> None:
    masked = redact_log(text)
    assert "[redacted]" in masked
    for secret in (
        "pb-0123456789abcdef",
        "sk-proj-abcdefghijklmnop",
        "very-secret-value",
        "hunter2hunter2",
        "abcdefghijkl",
        "Abcdefghijklmnop",
    ):
        assert secret not in masked


def test_ordinary_text_is_left_alone() -> None:
    text = "Not Found: /search/ in task-list after 3 tokens"
    assert redact_log(text) == text


def test_a_line_is_json_with_the_request_and_the_exception() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(SecretFilter())
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("a test of logs")
    logger.propagate = False
    logger.addHandler(handler)
    token = request_id.set("r-1")
    try:
        int("sk-abcdefghijklmnop")
    except ValueError:
        logger.exception("It broke for %s", "pb-0123456789abcdef")
    finally:
        request_id.reset(token)
    line = json.loads(stream.getvalue())
    assert line["request_id"] == "r-1"
    assert line["message"] == "It broke for [redacted]"
    assert "ValueError" in line["exception"]
    assert "sk-abcdefghijklmnop" not in stream.getvalue()


def test_every_answer_names_its_request(live: Live) -> None:
    assert len(httpx2.get(f"{live.url}/healthz").headers["x-request-id"]) == 32
    assert httpx2.get(f"{live.url}/healthz", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert httpx2.get(f"{live.url}/healthz", headers={"x-request-id": "no spaces!"}).headers["x-request-id"] != "no spaces!"


def filtered_line(filtered: RateLimitFilter, message: str) -> str | None:
    """Return a line as the log's filter passes it on."""
    record = logging.LogRecord("a test of logs", logging.ERROR, "", 0, message, None, None)
    return record.getMessage() if filtered.filter(record) else None


def test_what_waits_says_so_once_a_minute_and_how_often_it_did() -> None:
    now = 1000.0
    filtered = RateLimitFilter(clock=lambda: now)
    assert [filtered_line(filtered, "Redis is away") for _ in range(4)] == ["Redis is away", None, None, None]
    assert filtered_line(filtered, "PostgreSQL is away") == "PostgreSQL is away"
    now += REPEAT_SECONDS
    assert filtered_line(filtered, "Redis is away") == "Redis is away (3 times more since)"
    assert filtered_line(filtered, "PostgreSQL is away") == "PostgreSQL is away"


def test_lines_of_requests_are_never_left_out() -> None:
    filtered = RateLimitFilter(clock=lambda: 0.0)
    token = request_id.set("r-1")
    try:
        assert [filtered_line(filtered, "Service Unavailable: /chat/") for _ in range(2)] == ["Service Unavailable: /chat/"] * 2
    finally:
        request_id.reset(token)


def test_a_message_stays_on_its_line() -> None:
    """Errors of psycopg have several; and nobody forges a line with a line break."""
    record = logging.LogRecord("a test of logs", logging.ERROR, "", 0, "away: %s", ("closed\n\tby the server\r\n2026 INFO forged",), None)
    SecretFilter().filter(record)
    assert record.getMessage() == "away: closed by the server 2026 INFO forged"


@pytest.mark.parametrize(("error", "kept"), [(OperationalError("couldn't get a connection"), False), (KeyError("a bug"), True)])
def test_a_page_that_failed_for_want_of_the_database_needs_no_traceback(error: Exception, kept: bool) -> None:
    record = logging.LogRecord("django.request", logging.ERROR, "", 0, "Service Unavailable: /chat/", None, (type(error), error, None))
    assert DropDatabaseTracebacks().filter(record)
    assert bool(record.exc_info) is kept
