"""A request's own bytes are sent on where only its model differs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from webapp.patterns.openai.exchange import ChatExchange
from webapp.patterns.openai.raw_body import RawBody
from webapp.patterns.types import Request

BODY = b'{ "messages" : [{"role": "user", "content": "the \\"model\\" \xc3\xa9"}], "model" : "route",\n "temperature": 0.10 }\n'


def sent(raw: bytes, *, stream: bool = False, model: str = "m", **capabilities: bool) -> bytes:
    body = json.loads(raw)
    request = Request(body, raw=RawBody(raw, body)).with_options(model=model)
    return ChatExchange(request, stream=stream, capabilities=capabilities).content()


def test_only_the_model_is_replaced() -> None:
    assert sent(BODY, model='a "b"') == BODY.replace(b'"route"', b'"a \\"b\\""')


def test_the_same_model_needs_no_change() -> None:
    assert sent(BODY, model="route") == BODY


def test_a_stream_asks_for_its_usage_at_the_end_of_the_bytes() -> None:
    raw = b'{"model":"route","stream":true,"messages":[]}'
    assert sent(raw, stream=True) == b'{"model":"m","stream":true,"messages":[],"stream_options":{"include_usage":true}}'


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"route","stream":true,"messages":[],"stream_options":{"include_usage":true}}',
        b'{"model":"route","stream":false,"messages":[]}',
    ],
)
def test_fields_that_say_the_same_stay(raw: bytes) -> None:
    assert sent(raw, stream=b"true" in raw) == raw.replace(b"route", b"m")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"route","messages":[{"role":"user","content":"ends with \\"model"}]}',
        b'{"model":"route","messages":[],"metadata":{"model":"other"}}',
        b'{"mo\\u0064el":"route","messages":[],"metadata":{"model":"other"}}',
        b'{"model":"route","messages":[],"seed":null}',
        b'{"model":"route","messages":[{"role":"user","content":"a","name":null}]}',
        b'{"model":"route","messages":[{"role":"developer","content":"a"}]}',
    ],
)
def test_a_body_that_must_change_elsewhere_is_encoded(raw: bytes) -> None:
    content = sent(raw, developer_role=False)
    body: dict[str, Any] = json.loads(content)
    assert body["model"] == "m"
    assert "seed" not in body
    assert [message["role"] for message in body["messages"]] in ([], ["user"], ["system"])
    assert body.get("metadata") in (None, {"model": "other"})
    assert "null" not in content.decode()


def test_a_repaired_body_is_encoded() -> None:
    body = json.loads(BODY)
    exchange = ChatExchange(Request(body, raw=RawBody(BODY, body)), stream=False, capabilities={})
    del exchange.body["temperature"]
    assert json.loads(exchange.content()) == {name: value for name, value in body.items() if name != "temperature"}


def test_a_changed_conversation_is_encoded() -> None:
    body = json.loads(BODY)
    request = Request(body, raw=RawBody(BODY, body)).with_messages([])
    assert json.loads(ChatExchange(request, stream=False, capabilities={}).content())["messages"] == []
