"""Run BERT encoders for sentence embeddings with numpy, without torch (docs/adr/0022).

Texts are tokenized, sorted by length, and packed without padding into batches of about 2,048 tokens. Attention works on runs of texts of
equal length, so it needs no mask. Everything else works on the packed tokens.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

BATCH_TOKENS = 2048
THREADS = min(os.cpu_count() or 1, 8)
"""Batches that run at the same time, each on one core (see webapp/__init__.py)."""
EPSILON = 1e-12
GELU_ROWS = 64
"""Rows of an activation that fit into a core's cache during GELU."""
# GELU(x) = x·Φ(x), and Φ(x) = sigmoid(x·p(x²)): a minimax fit of p over |x| < 6 differs by less than 3e-6 from GELU with erf.
GELU_FIT = (1.59565627e00, 7.29375813e-02, -2.49722850e-04, -6.11620991e-05, 2.23816950e-06)
GELU_FIT_LIMIT = np.float32(36.0)


@dataclass(frozen=True, slots=True)
class Embedded:
    """`vectors` has the shape (n, d), in the order of the texts, with length 1. `tokens` is the total number of tokens."""

    vectors: Floats
    tokens: int


class Tokenizer(Protocol):
    """Turn texts into token ids, cut at the model's window."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, with the special tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer: weight (in, out) and bias (out,)."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """Return (n, out) for rows (n, in)."""
        out = x @ self.weight
        out += self.bias
        return out


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer normalization: weight and bias (d,)."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """Normalize the rows of `x`, in place."""
        x -= x.mean(axis=1, keepdims=True)
        scale = np.einsum("ij,ij->i", x, x)
        x *= (1.0 / np.sqrt(scale / x.shape[1] + EPSILON))[:, None]
        x *= self.weight
        x += self.bias
        return x


@dataclass(frozen=True, slots=True)
class Layer:
    """One encoder layer. `qkv` holds the scaled query weights, the key weights, and the value weights side by side."""

    qkv: Dense
    attended: Dense
    attended_norm: Norm
    widened: Dense
    narrowed: Dense
    norm: Norm


def layer(dense: Callable[[str], Dense], norm: Callable[[str], Norm], heads: int) -> Layer:
    """Build a layer from readers of its parts by the names query, key, value, attended, attended_norm, widened, narrowed, and norm."""
    query, key, value = dense("query"), dense("key"), dense("value")
    scale = np.float32((query.weight.shape[1] // heads) ** -0.5)
    qkv = Dense(
        np.hstack([query.weight * scale, key.weight, value.weight]),
        np.hstack([query.bias * scale, key.bias, value.bias]),
    )
    return Layer(qkv, dense("attended"), norm("attended_norm"), dense("widened"), dense("narrowed"), norm("norm"))


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of `count` texts of `length` tokens each, starting at the packed row `start`."""

    start: int
    count: int
    length: int


@dataclass(frozen=True)
class Encoder:
    """A BERT encoder with mean pooling. Any number of threads may use it.

    Attributes:
        words: returns the word embeddings (n, d) of n token ids, as a new array.
        positions: the sums of position and token-type embeddings, (window, d).
        heads: the number of attention heads.
    """

    tokenizer: Tokenizer
    words: Callable[[Ids], Floats]
    positions: Floats
    first_norm: Norm
    layers: Sequence[Layer]
    heads: int

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(THREADS, thread_name_prefix="encoder")

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed any number of texts. The call blocks, but other threads keep running."""
        ids = self.tokenizer.encode(texts)
        vectors = np.empty((len(ids), self.positions.shape[1]), np.float32)
        batches = list(_batches(ids))
        work = map if len(batches) == 1 else self._pool.map
        for batch, result in zip(batches, work(lambda batch: self._forward([ids[i] for i in batch]), batches), strict=True):
            vectors[batch] = result
        return Embedded(vectors, sum(map(len, ids)))

    def _forward(self, ids: list[list[int]]) -> Floats:
        """Return the embeddings (n, d) of n tokenized texts, which are sorted by length."""
        lengths = np.array([len(text) for text in ids])
        starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        runs = list(_runs(lengths, starts))
        x = self.words(np.concatenate([np.array(text) for text in ids]))
        x += self.positions[np.concatenate([np.arange(length) for length in lengths])]
        self.first_norm(x)
        for each in self.layers:
            x = _transform(each, x, runs, self.heads)
        pooled: Floats = np.add.reduceat(x, starts, axis=0)
        pooled /= np.sqrt(np.einsum("ij,ij->i", pooled, pooled))[:, None]
        return pooled


def _transform(layer: Layer, x: Floats, runs: Sequence[_Run], heads: int) -> Floats:
    attended = layer.attended(_attention(layer.qkv(x), runs, heads))
    attended += x
    layer.attended_norm(attended)
    out = layer.narrowed(_gelu(layer.widened(attended)))
    out += attended
    return layer.norm(out)


def _attention(qkv: Floats, runs: Sequence[_Run], heads: int) -> Floats:
    """Compute self-attention within each text. `qkv` has the shape (tokens, 3·d), with scaled queries."""
    width = qkv.shape[1] // 3
    out = np.empty((len(qkv), width), np.float32)
    for run in runs:
        rows = slice(run.start, run.start + run.count * run.length)
        q, k, v = qkv[rows].reshape(run.count, run.length, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
        scores = q @ k.swapaxes(-1, -2)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        context = scores @ v
        context /= scores.sum(axis=-1, keepdims=True)
        out[rows].reshape(run.count, run.length, heads, width // heads)[:] = context.swapaxes(1, 2)
    return out


def _gelu(x: Floats) -> Floats:
    """Apply GELU in place, one cache-sized block of rows at a time."""
    for start in range(0, len(x), GELU_ROWS):
        rows = x[start : start + GELU_ROWS]
        square = np.minimum(rows * rows, GELU_FIT_LIMIT)
        power = square * -GELU_FIT[4]
        for coefficient in reversed(GELU_FIT[1:4]):
            power -= coefficient
            power *= square
        power -= GELU_FIT[0]
        power *= rows
        np.minimum(power, 80, out=power)
        np.exp(power, out=power)
        power += 1
        rows /= power
    return x


def _batches(ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Return the indexes of the texts by length, in batches of at most BATCH_TOKENS tokens."""
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(ids)), key=lambda i: len(ids[i])):
        if batch and tokens + len(ids[index]) > BATCH_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += len(ids[index])
    if batch:
        yield batch


def _runs(lengths: Ids, starts: Ids) -> Iterator[_Run]:
    for length, group in groupby(range(len(lengths)), key=lambda i: int(lengths[i])):
        members = list(group)
        yield _Run(int(starts[members[0]]), len(members), length)
