"""`/v1/embeddings` of the built-in backend."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from typing import Any

import httpx2
import numpy as np
import pytest

from webapp.builtin import MINILM
from webapp.builtin import embeddings as room
from webapp.builtin.asgi import application
from webapp.builtin.embeddings import embeddings
from webapp.builtin.transport import InProcess
from webapp.patterns.errors import InputError


async def test_it_answers_in_the_published_shape() -> None:
    answer = await embeddings({"model": MINILM.name, "input": ["one", "two words"]})
    assert answer["object"] == "list"
    assert answer["model"] == MINILM.name
    assert [item["index"] for item in answer["data"]] == [0, 1]
    assert all(item["object"] == "embedding" and len(item["embedding"]) == 384 for item in answer["data"])
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}


async def test_base64_holds_the_same_little_endian_floats() -> None:
    floats = await embeddings({"model": MINILM.name, "input": "some text"})
    encoded = await embeddings({"model": MINILM.name, "input": "some text", "encoding_format": "base64"})
    decoded = np.frombuffer(base64.b64decode(encoded["data"][0]["embedding"]), "<f4")
    assert np.allclose(decoded, floats["data"][0]["embedding"], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": "text-embedding-3-small"}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["good", ""]}, "input"),
        ({"input": ["good", 7]}, "input"),
        ({"input": {"text": "good"}}, "input"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2, 3]]}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"encoding_format": ["float"]}, "encoding_format"),
        ({"dimensions": 256}, "dimensions"),
    ],
)
async def test_a_wrong_body_is_refused_with_the_field_that_is_wrong(change: dict[str, Any], param: str) -> None:
    """FAULTS 23: wrong types at the embeddings endpoint."""
    with pytest.raises(InputError) as caught:
        await embeddings({"model": MINILM.name, "input": "text", **change})
    assert caught.value.param == param


async def test_a_query_is_answered_while_a_bulk_runs_and_the_loop_goes_on() -> None:
    bulk = asyncio.create_task(embeddings({"model": MINILM.name, "input": ["word " * 200] * 40}))
    await asyncio.sleep(0.05)
    began = time.perf_counter()
    await embeddings({"model": MINILM.name, "input": "a query"})
    assert not bulk.done(), f"the query waited {time.perf_counter() - began:.1f} s for the bulk"
    await bulk


async def test_the_backend_serves_it_over_http_with_errors_in_openai_s_shape() -> None:
    async with httpx2.AsyncClient(transport=InProcess(application), base_url="http://builtin/v1") as client:
        good = await client.post("/embeddings", json={"model": MINILM.name, "input": "text"})
        missing = await client.post("/embeddings", json={"model": "nobody", "input": "text"})
        wrong = await client.post("/embeddings", json={"model": MINILM.name, "input": []})
        listed = await client.get("/models")
    assert (good.status_code, len(good.json()["data"])) == (200, 1)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "input")
    assert MINILM.name in [model["id"] for model in listed.json()["data"]]


def test_the_model_is_warmed_once_and_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[str] = []
    monkeypatch.setattr(room, "_warm", set())
    monkeypatch.setattr(room, "_load", lambda _name: began.append(threading.current_thread().name))
    room.warm(MINILM.name)
    room.warm(MINILM.name)
    room._quick.submit(lambda: None).result(10)
    assert began == ["embed-quick_0"]
