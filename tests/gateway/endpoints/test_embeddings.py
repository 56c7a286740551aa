"""embeddings: the encoding that the caller asked for, whatever the backend sends."""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from typing import Any

import pytest

from tests.gateway.api import Api
from tests.upstream import Upstream, embedding, status

VECTOR = [0.5, -1.0, 0.25]
BASE64 = b64encode(struct.pack("<3f", *VECTOR)).decode()


def answer(vector: Any, **fields: Any) -> Any:
    return status(200, {"data": [{"index": 0, "object": "embedding", "embedding": vector}], **fields})


async def test_the_sdk_gets_numbers_by_its_base64_default_though_the_backend_ignores_it(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    result = await api.sdk().embeddings.create(model="m", input=["one two", "three"])
    assert upstream.requests[0].body["encoding_format"] == "base64"
    assert result.data[0].embedding == pytest.approx(embedding("one two"))
    assert [item.index for item in result.data] == [0, 1]


@pytest.mark.parametrize("sent", [VECTOR, BASE64])
async def test_base64_in_base64_out_and_numbers_in_numbers_out(api: Api, upstream: Upstream, sent: Any) -> None:
    await api.serve(upstream)
    upstream.embeds = answer(sent)
    packed = (await api.post("embeddings", {"model": "m", "input": "a", "encoding_format": "base64"})).json()
    assert struct.unpack("<3f", b64decode(packed["data"][0]["embedding"])) == tuple(VECTOR)
    plain = (await api.post("embeddings", {"model": "m", "input": "a"})).json()
    assert plain["data"][0]["embedding"] == VECTOR


async def test_what_the_schema_requires_is_added(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    upstream.embeds = status(200, {"data": [{"embedding": VECTOR}]})
    body = (await api.post("embeddings", {"model": "m", "input": "a"})).json()
    assert body["object"] == "list"
    assert body["model"] == "m"
    assert body["usage"] == {"prompt_tokens": 0, "total_tokens": 0}
    assert body["data"] == [{"object": "embedding", "index": 0, "embedding": VECTOR}]


@pytest.mark.parametrize("vector", ["no base64!", ["a"], None, {}, 7])
async def test_what_is_no_embedding_is_a_502(api: Api, upstream: Upstream, vector: Any) -> None:
    await api.serve(upstream)
    upstream.embeds = answer(vector)
    response = await api.post("embeddings", {"model": "m", "input": "a", "encoding_format": "base64"})
    assert response.status_code == 502


async def test_token_ids_pass_as_they_are(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    response = await api.post("embeddings", {"model": "backend0/m", "input": [[1, 2], [3]]})
    assert upstream.requests[0].body["input"] == [[1, 2], [3]]
    assert len(response.json()["data"]) == 2
