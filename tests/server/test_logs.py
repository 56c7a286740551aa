"""Logs carry the request id and never a secret."""

from __future__ import annotations

import io
import json
import logging

import httpx2
import pytest

from tests.live import Live
from webapp.server.logs import JsonFormatter, SecretFilter, request_id, without_secrets


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer pb-0123456789abcdef",
        "the key sk-proj-abcdefghijklmnop was refused",
        '{"api_key": "very-secret-value"}',
        "password=hunter2hunter2",
        "api-key: 'abcdefghijkl'",
    ],
)
def test_secrets_are_masked(text: str) -> None:
    masked = without_secrets(text)
    assert "[secret]" in masked
    for secret in ("pb-0123456789abcdef", "sk-proj-abcdefghijklmnop", "very-secret-value", "hunter2hunter2", "abcdefghijkl"):
        assert secret not in masked


def test_ordinary_text_is_left_alone() -> None:
    text = "Not Found: /search/ in task-list after 3 tokens"
    assert without_secrets(text) == text


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
    assert line["message"] == "It broke for [secret]"
    assert "ValueError" in line["exception"]
    assert "sk-abcdefghijklmnop" not in stream.getvalue()


def test_every_answer_names_its_request(live: Live) -> None:
    assert len(httpx2.get(f"{live.url}/healthz").headers["x-request-id"]) == 32
    assert httpx2.get(f"{live.url}/healthz", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert httpx2.get(f"{live.url}/healthz", headers={"x-request-id": "no spaces!"}).headers["x-request-id"] != "no spaces!"
