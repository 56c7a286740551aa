"""Hostile bodies: refused with a reason, and nothing sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.conf import settings

from tests.gateway.api import CHAT, Api
from tests.upstream import Upstream
from webapp.ports import files_and_batches

POSTS = ["chat/completions", "completions", "embeddings", "batches"]
BROKEN = {
    "empty": b"",
    "null": b"null",
    "array": b"[]",
    "number": b"7",
    "text": b'"hi"',
    "half": b'{"model": "m", "messages": [',
    "not json": b"model=m",
    "NaN": b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "prompt": "a", "input": "a", "temperature": NaN}',
    "Infinity": b'{"model": "m", "temperature": Infinity}',
    "out of range": b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "prompt": "a", "input": "a", "x": [{"y": 1e999}]}',
    "deep": b'{"model": "m", "messages": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "duplicate key": b'{"model": "m", "model": "n"}',
    "duplicate key inside": b'{"model": "m", "messages": [{"role": "user", "role": "system", "content": "a"}]}',
    "invalid UTF-8": b'{"model": "\xff"}',
    "lone surrogate": b'{"model": "\\ud800"}',
    "UTF-16": json.dumps(CHAT).encode("utf-16"),
    "after the end": b'{"model": "m"} {"model": "n"}',
    "5,000 digits": b'{"model": ' + b"1" * 5000 + b"}",
    "NUL": b'{"model": "m"}\x00',
}


@pytest.mark.parametrize("path", POSTS)
async def test_what_is_no_good_json_is_a_400(api: Api, upstream: Upstream, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 23."""
    monkeypatch.setattr(files_and_batches._Registered, "batches", _Refuse())
    await api.serve(upstream)
    for name, raw in BROKEN.items():
        response = await api.post(path, content=raw)
        assert response.status_code == 400, name
        said = response.json()["error"]
        assert set(said) == {"message", "type", "param", "code"}, name
        assert said["message"], name
    assert upstream.requests == []


class _Refuse:
    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was reached")


async def test_a_wrong_parameter_is_named_and_nothing_is_sent(api: Api, upstream: Upstream) -> None:
    """FAULTS 13."""
    await api.serve(upstream)
    response = await api.chat(temperature="hot")
    assert (response.status_code, response.json()["error"]["param"]) == (400, "temperature")
    for name in ("api_base", "api_key", "base_url"):
        response = await api.chat(**{name: "http://169.254.169.254/"})
        assert (response.status_code, response.json()["error"]["param"]) == (400, name)
    assert upstream.requests == []


async def test_a_body_that_declares_too_much_is_a_413_unread(api: Api, upstream: Upstream) -> None:
    """FAULTS 20."""
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b" " * 65536

    await api.serve(upstream)
    declared = await api.post("chat/completions", content=endless(), headers={"content-length": str(settings.MAX_BODY_BYTES + 1)})
    assert (declared.status_code, declared.json()["error"]["code"]) == (413, "request_too_large")
    assert read <= 2
    chunked = await api.post("chat/completions", content=endless())
    assert (chunked.status_code, chunked.json()["error"]["code"]) == (413, "request_too_large")
    assert read * 65536 < settings.MAX_BODY_BYTES * 1.1


async def test_a_large_body_within_the_limit_passes_whole(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    text = "é" * 5_000_000
    response = await api.chat(messages=[{"role": "user", "content": text}])
    assert response.status_code == 200
    assert upstream.requests[0].body["messages"][0]["content"] == text
