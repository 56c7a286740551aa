"""A filter that many passages match: the full-text query runs once, and not once for each passage."""

from __future__ import annotations

import time

from search.index import engine
from search.index.base import terms
from search.models import Chunk, Collection, Document, scope

PASSAGES = 3000
MAX_SECONDS = 1.0
"""Of processor time. Running the query once for each passage takes many times as long."""


def test_a_filter_that_matches_thousands_of_passages_costs_little(collection: Collection) -> None:
    document = Document.objects.create(collection=collection, name="many.md", state=Document.State.READY)
    fixed = {"document": document, "collection": collection, "scope": scope(collection.pk), "start": 0, "end": 1, "tokens": 1}
    chunks = [Chunk(text=f"red green blue word{number}", **fixed) for number in range(PASSAGES)]
    for chunk in chunks:
        chunk.set_words()
    Chunk.objects.bulk_create(chunks, batch_size=500)
    within = list(Chunk.objects.values_list("pk", flat=True))
    began = time.thread_time()
    found = engine().matching(terms("red green blue"), 60, scopes=[scope(collection.pk)], within=within[1:])
    assert time.thread_time() - began < MAX_SECONDS
    assert len(found) == 60
    assert within[0] not in {hit.chunk_id for hit in found}
