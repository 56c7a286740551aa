"""Embedding texts through a backend."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
import pytest

from webapp.patterns.embeddings import Limits, MemoryCache, embed
from webapp.patterns.errors import EmbeddingError, RequestRejected
from webapp.patterns.types import Answer, ModelInfo, Packet, Request, Trail


class Embedder:
    """A backend whose vectors say which text they are of; answers in reverse order, and takes at most `most` texts."""

    name = "embedder"

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.calls: list[list[str]] = []

    async def send(self, request: Request, *, trail: Trail | None = None) -> Answer:
        texts = request.body["input"]
        self.calls.append(texts)
        if len(texts) > self.most:
            raise RequestRejected(f"batch size {len(texts)} > maximum allowed batch size {self.most}", status=422)
        data = [{"index": index, "embedding": self.vector(text)} for index, text in enumerate(texts)]
        return Answer(b"", {"data": data[::-1], "model": "m"})

    def vector(self, text: str) -> Any:
        return [1.0, float(len(text))]

    def stream(self, request: Request, *, trail: Trail | None = None) -> AsyncGenerator[Packet, None]:
        raise AssertionError("embeddings do not stream")

    async def models(self) -> list[ModelInfo]:
        return []

    async def aclose(self) -> None:
        pass


TEXTS = ["x" * (number + 1) for number in range(50)]


async def test_vectors_come_in_the_order_of_the_texts_and_are_of_length_one() -> None:
    vectors = await embed(Embedder(), TEXTS, limits=Limits(batch_size=7))
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.allclose(vectors[:, 1] / vectors[:, 0], range(1, 51))


async def test_a_batch_that_is_too_large_goes_in_halves() -> None:
    backend = Embedder(most=8)
    assert len(await embed(backend, TEXTS, limits=Limits(batch_size=32))) == 50
    assert max(len(call) for call in backend.calls if len(call) <= 8) == 8


async def test_a_cache_is_asked_first() -> None:
    backend, cache = Embedder(), MemoryCache()
    first = await embed(backend, TEXTS, cache=cache)
    assert np.array_equal(first, await embed(backend, [*TEXTS], cache=cache))
    assert len(backend.calls) == 1


async def test_a_nan_is_an_error() -> None:
    backend = Embedder()
    backend.vector = lambda text: [1.0, float("nan")]  # type: ignore[method-assign]
    with pytest.raises(EmbeddingError, match="NaN"):
        await embed(backend, TEXTS)
