"""Embedding texts through a backend: batches, order, dialects, checks, cache."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.patterns.backends import Scripted
from tests.upstream import Upstream
from webapp.patterns.batch.parallel import Retry
from webapp.patterns.embeddings.embedding import Limits, MemoryCache, batched, content_key, embed, vectors_of
from webapp.patterns.errors import ContextOverflow, EmbeddingError, InputError, RateLimited, RequestRejected, ServerFailed
from webapp.patterns.openai.backend import OpenAIBackend
from webapp.patterns.tokens.counting import count_text
from webapp.patterns.types import AttemptLog, Json, Request

TEXTS = ["x" * (number + 1) for number in range(50)]


def vector(text: str) -> list[float]:
    """A vector that says which text it is of."""
    return [1.0, float(len(text))]


def embedder(most: int = 1000, error: Callable[[int], Exception] | None = None, model: str = "m") -> Scripted:
    """Answers in reverse order; refuses more than `most` texts as text-embeddings-inference does."""

    async def answer(request: Request) -> Json:
        texts = request.body["input"]
        if len(texts) > most:
            raise (
                error(len(texts)) if error else RequestRejected(f"batch size {len(texts)} > maximum allowed batch size {most}", status=422)
            )
        return {"data": [{"index": index, "embedding": vector(text)} for index, text in enumerate(texts)][::-1], "model": model}

    return Scripted(answer)


def answers(body: Json) -> Scripted:
    async def answer(request: Request) -> Json:
        return body

    return Scripted(answer)


def sizes(backend: Scripted) -> list[int]:
    return [len(request.body["input"]) for request in backend.requests]


# --- order and batches


async def test_vectors_come_in_the_order_of_the_texts_and_are_of_length_one() -> None:
    vectors = await embed(embedder(), TEXTS, limits=Limits(batch_size=7))
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.allclose(vectors[:, 1] / vectors[:, 0], range(1, 51))


async def test_no_texts_need_no_call() -> None:
    backend = embedder()
    assert (await embed(backend, [])).shape == (0, 0)
    assert (await embed(backend, [], cache=MemoryCache())).shape == (0, 0)
    assert backend.requests == []


@given(st.lists(st.text(min_size=1, max_size=60), max_size=30), st.integers(1, 8), st.integers(1, 40))
def test_batches_keep_their_limits_and_lose_nothing(texts: list[str], size: int, tokens: int) -> None:
    batches = list(batched(texts, "", Limits(batch_size=size, batch_tokens=tokens)))
    assert [text for batch in batches for text in batch] == texts
    for batch in batches:
        assert 0 < len(batch) <= size
        assert len(batch) == 1 or sum(count_text(text) for text in batch) <= tokens


@pytest.mark.parametrize(
    "error",
    [
        None,
        lambda count: RequestRejected("Payload", status=413),
        lambda count: ContextOverflow("too long", status=400),
        lambda count: RequestRejected("too many inputs", status=400),
    ],
)
async def test_a_batch_that_is_too_large_goes_in_halves(error: Any) -> None:
    backend = embedder(most=8, error=error)
    vectors = await embed(backend, TEXTS, limits=Limits(batch_size=32))
    assert np.allclose(vectors[:, 1] / vectors[:, 0], range(1, 51))
    assert sum(size for size in sizes(backend) if size <= 8) == 50


async def test_a_text_that_is_too_long_by_itself_is_an_error_and_so_is_any_other_refusal() -> None:
    with pytest.raises(RequestRejected):
        await embed(embedder(most=0), ["x"])
    backend = embedder(most=1, error=lambda count: RequestRejected("this model gives no embeddings", status=400))
    with pytest.raises(RequestRejected):
        await embed(backend, TEXTS)
    assert len(backend.requests) == 1
    with pytest.raises(ServerFailed):
        await embed(embedder(most=0, error=lambda count: ServerFailed("503")), TEXTS, limits=Limits(retry=Retry(attempts=1)))


async def test_a_rate_limit_is_waited_out() -> None:
    refused = iter([True, False])
    good = embedder()

    async def answer(request: Request) -> Json:
        if next(refused, False):
            raise RateLimited("slow down", retry_after=0.01)
        return (await good.send(request)).body

    assert len(await embed(Scripted(answer), TEXTS)) == 50


async def test_an_empty_text_is_named_before_anything_is_sent() -> None:
    backend = embedder()
    with pytest.raises(InputError, match="Text 1 is empty") as caught:
        await embed(backend, ["a", "", "b"])
    assert caught.value.param == "input[1]"
    assert backend.requests == []


async def test_model_and_dimensions_are_asked_for_only_when_given() -> None:
    backend, trail = embedder(), AttemptLog()
    await embed(backend, ["a"], trail=trail)
    await embed(backend, ["a"], model="text-embedding-3-small", dimensions=2)
    assert dict(backend.requests[0].body) == {"input": ["a"], "encoding_format": "float"}
    assert dict(backend.requests[1].body) == {
        "input": ["a"],
        "encoding_format": "float",
        "model": "text-embedding-3-small",
        "dimensions": 2,
    }
    assert len(trail.attempts) == 1


# --- answers


@pytest.mark.parametrize(
    "embedding", [[3.0, 4.0], [[3.0, 4.0]], [[2.0, 4.0], [4.0, 4.0]], base64.b64encode(np.array([3, 4], dtype="<f4").tobytes()).decode()]
)
async def test_every_dialect_of_a_vector_is_read(embedding: Any) -> None:
    assert np.allclose(await embed(answers({"data": [{"index": 0, "embedding": embedding}]}), ["a"]), [[0.6, 0.8]])


def test_answers_without_indexes_are_in_order() -> None:
    assert vectors_of({"data": [{"embedding": [1, 0]}, {"index": None, "embedding": [0, 1]}]}, 2).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (None, "no vectors came back"),
        ([], "0 vectors came back"),
        ([{"index": 0, "embedding": [1.0]}], "1 vectors came back"),
        ([{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}], "indexes"),
        ([{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}], "indexes"),
        ([{"index": 0, "embedding": [1.0]}, {"index": [], "embedding": [1.0]}], "indexes"),
        ([{"index": 0, "embedding": [1.0]}, 3], "not an object"),
        ([{"index": 0, "embedding": [1.0]}, {"index": 1}], "empty or too deeply nested"),
        ([{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": {}}], "no list of numbers"),
        ([{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}], "of one length"),
        ([{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [float("nan")]}], "NaN"),
        ([{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [0.0]}], "zero"),
    ],
)
def test_an_answer_that_cannot_be_used_says_why(data: Any, why: str) -> None:
    with pytest.raises(EmbeddingError, match=why):
        vectors_of({"data": data}, 2)


async def test_a_dimension_that_changes_between_batches_is_an_error() -> None:
    """FAULTS 46."""
    dimensions = iter([4, 8])

    async def answer(request: Request) -> Json:
        return {"data": [{"index": 0, "embedding": [1.0] * next(dimensions)}]}

    with pytest.raises(EmbeddingError, match="8 dimensions instead of 4"):
        await embed(Scripted(answer), ["a", "b"], limits=Limits(batch_size=1, concurrency=1))
    with pytest.raises(EmbeddingError, match="2 dimensions instead of 3"):
        await embed(embedder(), ["a"], dimensions=3)


async def test_answers_of_two_models_are_never_mixed() -> None:
    """A route that falls back half-way must not fill an index with vectors that cannot be compared."""
    models = iter(["first", "second"])

    async def answer(request: Request) -> Json:
        return {"data": [{"index": 0, "embedding": [1.0]}], "model": next(models)}

    with pytest.raises(EmbeddingError, match="first, second"):
        await embed(Scripted(answer), ["a", "b"], limits=Limits(batch_size=1))


# --- cache


async def test_a_cache_is_asked_first_and_filled() -> None:
    backend, cache = embedder(), MemoryCache()
    first = await embed(backend, TEXTS, cache=cache)
    assert np.array_equal(first, await embed(backend, TEXTS, cache=cache))
    assert sizes(backend) == [50]
    mixed = await embed(backend, ["new", *TEXTS[:3], "new"], cache=cache)
    assert sizes(backend) == [50, 1]
    assert np.array_equal(mixed[1:4], first[:3])
    assert np.array_equal(mixed[0], mixed[4])


async def test_a_cache_of_another_dimension_is_noticed() -> None:
    cache = MemoryCache()
    await cache.set_many({content_key("a", "scripted"): b"1234" * 3})
    with pytest.raises(EmbeddingError, match="different dimensions"):
        await embed(embedder(), ["a", "b"], cache=cache)


def test_keys_tell_texts_models_and_dimensions_apart() -> None:
    keys = {content_key("a", "m"), content_key("b", "m"), content_key("a", "n"), content_key("a", "m", 8), content_key("\ud800", "m")}
    assert len(keys) == 5
    assert content_key("a", "m") == content_key("a", "m", None)


async def test_the_memory_cache_keeps_what_was_used_last() -> None:
    cache = MemoryCache(3)
    await cache.set_many({"a": b"1", "b": b"2", "c": b"3"})
    assert await cache.get_many(["a", "a", "none"]) == {"a": b"1"}
    await cache.set_many({"d": b"4"})
    assert await cache.get_many(["a", "b", "c", "d"]) == {"a": b"1", "c": b"3", "d": b"4"}


async def test_it_embeds_over_real_http(upstream: Upstream) -> None:
    backend = OpenAIBackend("test", upstream.base_url)
    try:
        vectors = await embed(backend, ["a red fox", "a red dog", "stock prices"], model="m", limits=Limits(batch_size=2))
    finally:
        await backend.aclose()
    assert vectors.shape == (3, 8)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert len(upstream.requests) == 2
