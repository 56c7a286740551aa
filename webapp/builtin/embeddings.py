"""Serve `/v1/embeddings` of the built-in backend in OpenAI's schema."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from webapp.builtin import E5, EMBEDDING_MODELS, MINILM, EmbeddingModel
from webapp.patterns.errors import InputError

if TYPE_CHECKING:
    from webapp.builtin.embedding.encoder import Embedded, Floats

MAX_INPUTS = 2048
MODELS = {**EMBEDDING_MODELS, f"intfloat/{E5.name}": E5, f"sentence-transformers/{MINILM.name}": MINILM}
"""The models by their names, short and as published."""
QUICK_CHARS = 4000
# Two threads, so that a query does not wait for the batches of an indexing run.
_quick = ThreadPoolExecutor(1, thread_name_prefix="embed-quick")
_bulk = ThreadPoolExecutor(1, thread_name_prefix="embed-bulk")
_warm: set[str] = set()


async def embeddings(body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer the body of a POST to `/v1/embeddings`.

    Raises:
        InputError: what is wrong with the body, with the field in `param`; OpenAI answers 400, or 404 where `code` is `model_not_found`.
        ModelUnavailable: the weights are not installed.
    """
    result = await embed_texts(body)
    encode = _base64 if body.get("encoding_format") == "base64" else _floats
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": encode(vector)} for i, vector in enumerate(result.vectors)],
        "model": body["model"],
        "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
    }


async def embed_texts(body: Mapping[str, Any]) -> Embedded:
    """Return the vectors of the texts in a body. Raise as `embeddings`."""
    model, texts = _checked(body)
    lane = _quick if sum(map(len, texts)) <= QUICK_CHARS else _bulk
    return await asyncio.get_running_loop().run_in_executor(lane, _embed, model.name, texts)


def warm(name: str) -> None:
    """Load a model in the background, so that the first query does not wait for it. Repeated calls do nothing."""
    if name not in _warm:
        _warm.add(name)
        _quick.submit(_load, name)


def _load(name: str) -> None:
    """Load the model and everything that the first call imports and reads."""
    from webapp.patterns.openai import backend as _client  # noqa: F401 - for its import
    from webapp.patterns.tokens.counting import count_text

    count_text("warm")
    _embed(name, ["warm"])


def _embed(name: str, texts: list[str]) -> Embedded:
    from webapp.builtin.embedding import model

    return model(name).embed(texts)


def _floats(vector: Floats) -> list[float]:
    floats: list[float] = vector.tolist()
    return floats


def _base64(vector: Floats) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _checked(body: Mapping[str, Any]) -> tuple[EmbeddingModel, list[str]]:
    """Return the model and the texts of a valid body."""
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise InputError("'model' is required and must be a string.", param="model")
    if name not in MODELS:
        raise InputError(
            f"The model {name[:100]!r} does not exist. The built-in embedding models are {' and '.join(EMBEDDING_MODELS)}.",
            param="model",
            code="model_not_found",
        )
    if (body.get("encoding_format") or "float") not in ("float", "base64"):
        raise InputError("'encoding_format' must be 'float' or 'base64'.", param="encoding_format")
    model = MODELS[name]
    if (body.get("dimensions") or model.dimension) != model.dimension:
        raise InputError(f"This model has {model.dimension} dimensions and cannot give another number.", param="dimensions")
    return model, _texts(body.get("input"))


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise InputError("'input' is required: a string, or a list of at least one string.", param="input")
    if len(texts) > MAX_INPUTS:
        raise InputError(f"'input' has {len(texts)} items; at most {MAX_INPUTS} are allowed.", param="input")
    if isinstance(texts[0], int | list):
        raise InputError(
            "Token ids are of another model's vocabulary: send text (langchain: check_embedding_ctx_length=False).", param="input"
        )
    if not all(isinstance(text, str) and text for text in texts):
        raise InputError("'input' must hold strings only, none of them empty.", param="input")
    return list(texts)
