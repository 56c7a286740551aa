"""Move the vector of a query from its own language to the language of the passages (docs/adr/0045).

Vectors of a multilingual model hold the language, too, which says nothing about the subject. The same few sentences in each language tell
the difference between two languages. It is added to the query's vector.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from django.db.models.functions import Left

from search import embedder
from search.index.analysis import language_of
from search.models import Chunk, Index
from webapp.builtin import E5
from webapp.core.database import in_database

if TYPE_CHECKING:
    from webapp.patterns.embeddings.similarity import Matrix

STRENGTH = 0.6
"""How far the vector is moved: 1 is the whole difference."""
SAMPLE = 40
"""Passages that tell the language of an index."""
BEGINNING_CHARS = 400
KEPT_INDEXES = 2000

_means: dict[tuple[str, str], Matrix] = {}
_languages: dict[tuple[int, int], str] = {}


@cache
def sentences() -> dict[str, list[str]]:
    """Return the same sentences in each language that is known."""
    found: dict[str, list[str]] = json.loads((Path(__file__).parent / "parallel_sentences.json").read_text(encoding="utf-8"))
    return found


async def shift_to_passages(vector: Matrix, query: str, index: Index) -> Matrix:
    """Return the vector of a query for an index. It is the same if one of the languages is not known, or the model is not ours.

    Raises:
        As `search.embedder.embed`.
    """
    asked = language_of(query)
    if index.answered_by != E5.name or asked not in sentences():
        return vector
    written = await _language(index)
    if written == asked or written not in sentences():
        return vector
    import numpy as np

    moved = vector + STRENGTH * (await _mean(written, index) - await _mean(asked, index))
    shifted: Matrix = moved / np.linalg.norm(moved)
    return shifted


async def _mean(language: str, index: Index) -> Matrix:
    """Return the mean vector of the sentences in a language."""
    key = (language, index.query_prompt)
    if key not in _means:
        prompted = [index.query_prompt + sentence for sentence in sentences()[language]]
        vectors = await embedder.embed(prompted, model=index.model, user=None, answered_by=index.answered_by)
        _means[key] = vectors.matrix.mean(axis=0)
    return _means[key]


async def _language(index: Index) -> str:
    """Return the language of most passages of an index. It is found again each time the index has doubled."""
    key = (index.pk, index.rows.bit_length())
    if key not in _languages:
        if len(_languages) >= KEPT_INDEXES:
            _languages.clear()
        _languages[key] = await in_database(_find_language, index)
    return _languages[key]


def _find_language(index: Index) -> str:
    """Return the commonest language of the first and the last passages."""
    passages = Chunk.objects.filter(collection_id=index.collection_id).annotate(beginning=Left("text", BEGINNING_CHARS))
    texts = [*passages.order_by("pk").values_list("beginning", flat=True)[: SAMPLE // 2]]
    texts += passages.order_by("-pk").values_list("beginning", flat=True)[: SAMPLE // 2]
    counts = Counter(language for text in texts if (language := language_of(text)))
    return counts.most_common(1)[0][0] if counts else ""
