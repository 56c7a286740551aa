"""Embed any number of texts through a Backend: batched, in order, checked, normalized.

    vectors = await embed(backend, ["a text", "another"])    # float32, shape (2, d), each of length one

Batches are limited by count and tokens, and a few are sent at a time. If a server finds a batch too large, it gets halves. Answers are
sorted by index and read in every known form: floats, base64, a list for each token. A missing vector, another dimension, zero or NaN, and
answers from two models are errors and never enter an index.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from webapp.patterns.backend import Backend
from webapp.patterns.batch.parallel import Retry, run
from webapp.patterns.errors import BackendError, ContextOverflow, EmbeddingError, InputError, RequestRejected
from webapp.patterns.tokens.counting import count_text
from webapp.patterns.types import AttemptLog, Json, Request

if TYPE_CHECKING:
    from webapp.patterns.embeddings.similarity import Matrix

_TOO_MUCH = ("batch", "too many", "too large", "too long", "maximum", "exceed", "token", "length")


class VectorCache(Protocol):
    """A store of vectors by `content_key`, as float32 bytes: a table, a Redis, or a dict."""

    async def get_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Return the vectors that exist."""
        ...

    async def set_many(self, vectors: Mapping[str, bytes]) -> None:
        """Store vectors."""
        ...


class MemoryCache:
    """A cache in this process of the `size` most recently used vectors."""

    def __init__(self, size: int = 10_000) -> None:
        self._size = size
        self._vectors: dict[str, bytes] = {}

    async def get_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Return the vectors that the cache has, by key."""
        found = {key: self._vectors.pop(key) for key in dict.fromkeys(keys) if key in self._vectors}
        self._vectors.update(found)
        return found

    async def set_many(self, vectors: Mapping[str, bytes]) -> None:
        """Store vectors, and drop the least recently used ones."""
        self._vectors.update(vectors)
        for key in list(self._vectors)[: max(0, len(self._vectors) - self._size)]:
            del self._vectors[key]


def content_key(text: str, model: str, dimensions: int | None = None) -> str:
    """Return the key of a text's vector: the same for the same text, model, and dimensions."""
    return hashlib.sha256(f"{model}\0{dimensions or ''}\0{text}".encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of requests.

    Attributes:
        batch_size: maximum texts per request. OpenAI accepts 2,048. Many local servers accept 32 and say so; then halves are sent.
        batch_tokens: maximum tokens per request, but at least one text.
        concurrency: requests at once.
        retry: how often a batch is tried.
    """

    batch_size: int = 128
    batch_tokens: int = 50_000
    concurrency: int = 4
    retry: Retry = Retry(attempts=3, patience=120.0)  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class _Answered:
    vectors: Matrix
    models: frozenset[str]


async def embed(
    backend: Backend,
    texts: Sequence[str],
    *,
    model: str | None = None,
    dimensions: int | None = None,
    limits: Limits | None = None,
    cache: VectorCache | None = None,
    trail: AttemptLog | None = None,
) -> Matrix:
    """Return the vectors of `texts` as float32 (n, d), each of length one, in their order; (0, 0) for none.

    Args:
        model: the model; None if the backend (a chain) sets it.
        dimensions: requested and checked; None for the model's default.
        cache: consulted first, and filled. Its keys contain the model, or the backend's name without one.

    Raises:
        InputError: a text is empty.
        EmbeddingError: an answer is not usable.
        BackendError, ChainError: from the backend.
    """
    from webapp.patterns.embeddings import similarity

    empty = next((number for number, text in enumerate(texts) if not text), None)
    if empty is not None:
        raise InputError(f"Text {empty} is empty: leave it out", param=f"input[{empty}]")
    limits = limits or Limits()
    if cache is None:
        return await _embed(backend, texts, model=model, dimensions=dimensions, limits=limits, trail=trail)
    keys = [content_key(text, model or backend.name, dimensions) for text in texts]
    known = dict(await cache.get_many(keys)) if keys else {}
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    fresh = await _embed(backend, list(missing.values()), model=model, dimensions=dimensions, limits=limits, trail=trail)
    computed = {key: vector.tobytes() for key, vector in zip(missing, fresh, strict=True)}
    if computed:
        await cache.set_many(computed)
    known.update(computed)
    return similarity.from_bytes([known[key] for key in keys])


async def _embed(
    backend: Backend, texts: Sequence[str], *, model: str | None, dimensions: int | None, limits: Limits, trail: AttemptLog | None
) -> Matrix:
    from webapp.patterns.embeddings import similarity

    options: Json = {name: value for name, value in (("model", model), ("dimensions", dimensions)) if value is not None}

    async def ask(batch: list[str]) -> _Answered:
        return await _ask(backend, batch, options, trail)

    batches = await asyncio.to_thread(lambda: list(batched(texts, model or "", limits)))
    parts: list[Matrix] = []
    models: frozenset[str] = frozenset()
    async with contextlib.aclosing(run(batches, ask, concurrency=limits.concurrency, retry=limits.retry)) as results:
        async for result in results:
            answered = result.unwrap()
            models |= answered.models
            parts.append(answered.vectors)
            _check_same(parts, models, dimensions)
    return similarity.joined(parts)


def batched(texts: Sequence[str], model: str, limits: Limits) -> Iterator[list[str]]:
    """Yield the texts in lists within the limits, in order."""
    batch: list[str] = []
    tokens = 0
    for text in texts:
        more = count_text(text, model)
        if batch and (len(batch) >= limits.batch_size or tokens + more > limits.batch_tokens):
            yield batch
            batch, tokens = [], 0
        batch.append(text)
        tokens += more
    if batch:
        yield batch


async def _ask(backend: Backend, texts: list[str], options: Json, trail: AttemptLog | None) -> _Answered:
    try:
        answer = await backend.send(Request.embedding(texts, **options), trail=trail)
    except BackendError as error:
        if len(texts) == 1 or not _too_much(error):
            raise
        half = len(texts) // 2
        first = await _ask(backend, texts[:half], options, trail)
        second = await _ask(backend, texts[half:], options, trail)
        return _joined(first, second)
    return _Answered(vectors_of(answer.body, len(texts)), frozenset(filter(None, [str(answer.body.get("model") or "")])))


def _joined(first: _Answered, second: _Answered) -> _Answered:
    from webapp.patterns.embeddings import similarity

    return _Answered(similarity.joined([first.vectors, second.vectors]), first.models | second.models)


def _too_much(error: BackendError) -> bool:
    if isinstance(error, ContextOverflow) or error.status == 413:
        return True
    return isinstance(error, RequestRejected) and any(word in error.message.lower() for word in _TOO_MUCH)


def _check_same(parts: Sequence[Matrix], models: frozenset[str], dimensions: int | None) -> None:
    wanted, given = dimensions or parts[0].shape[1], parts[-1].shape[1]
    if given != wanted:
        raise EmbeddingError(f"The backend answered with {given} dimensions instead of {wanted}")
    if len(models) > 1:
        raise EmbeddingError(f"The answers come from different models ({', '.join(sorted(models))}): their vectors cannot be compared")


def vectors_of(body: Json, count: int) -> Matrix:
    """Return the normalized vectors of an answer's body in the order of the texts: shape (count, d).

    Raises:
        EmbeddingError: wrong count, duplicate index, or invalid vectors.
    """
    from webapp.patterns.embeddings import similarity

    data = body.get("data")
    if not isinstance(data, list) or len(data) != count:
        raise EmbeddingError(f"{count} texts were sent and {len(data) if isinstance(data, list) else 'no'} vectors came back")
    found: dict[int, Any] = {}
    for position, item in enumerate(data):
        if not isinstance(item, dict):
            raise EmbeddingError("An embedding in the answer is not an object")
        index = position if item.get("index") is None else item["index"]
        found[index if isinstance(index, int) else -1] = item.get("embedding")
    if found.keys() != set(range(count)):
        raise EmbeddingError("The indexes of the answer's vectors are not those of the texts")
    return similarity.normalized([similarity.vector_of(found[index]) for index in range(count)])
