"""Serve `/v1/rerank` of the built-in backend: sort documents by their similarity to a query, with the embedding model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from webapp.builtin.embeddings import embed_texts
from webapp.patterns.embeddings.prompts import prompts_of
from webapp.patterns.errors import InputError
from webapp.patterns.types import Json

MAX_DOCUMENTS = 2047


async def rerank(body: Mapping[str, Any]) -> Json:
    """Answer the body of a POST to `/v1/rerank`, in the shape of Cohere's and Jina's APIs, which vLLM has, too.

    `relevance_score` is the cosine of the two embeddings, or 0 where that is negative. A bi-encoder ranks less sharply than a reranker.

    Raises:
        InputError: the body is wrong; `param` names the field.
        ModelUnavailable: the weights are not installed.
    """
    query = _text(body.get("query"), "query")
    documents = body.get("documents")
    if not isinstance(documents, list) or not documents:
        raise InputError("'documents' is required: a list of at least one text.", param="documents")
    if len(documents) > MAX_DOCUMENTS:
        raise InputError(f"'documents' has {len(documents)} items; at most {MAX_DOCUMENTS} are allowed.", param="documents")
    texts = [_text(document, f"documents[{number}]") for number, document in enumerate(documents)]
    prompts = prompts_of(str(body.get("model")))
    prompted = [prompts.query + query, *(prompts.passage + text for text in texts)]
    embedded = await embed_texts({"model": body.get("model"), "input": prompted})
    scores = await asyncio.to_thread(lambda: (embedded.vectors[1:] @ embedded.vectors[0]).clip(min=0).tolist())
    ranked = sorted(range(len(texts)), key=lambda index: -scores[index])[: body.get("top_n") or len(texts)]
    return_documents = body.get("return_documents") or False
    results = [
        {"index": index, "relevance_score": scores[index], **({"document": {"text": texts[index]}} if return_documents else {})}
        for index in ranked
    ]
    return {"object": "list", "model": body["model"], "results": results, "usage": {"total_tokens": embedded.tokens}}


def _text(value: Any, param: str) -> str:
    text = value.get("text") if isinstance(value, dict) else value
    if not isinstance(text, str) or not text:
        raise InputError(f"'{param}' must be a text that is not empty.", param=param)
    return text
