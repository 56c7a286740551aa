"""Questions in one language about passages in another, by the built-in multilingual model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from search import embedder, services
from search.models import Collection, Index
from search.ranking.language_shift import STRENGTH, sentences, shift_to_passages
from tests.search.conftest import run_ingestion
from tests.users import Users
from webapp.backends.models import RouteStep
from webapp.backends.runtime import registry
from webapp.backends.services import seeding
from webapp.builtin import E5, MINILM

ENGLISH = "You can cancel the contract at the end of each month. The notice period is four weeks, and it has to be in writing."
GERMAN = "Der Vertrag kann zum Ende des Monats gekündigt werden. Die Frist beträgt vier Wochen, und sie ist schriftlich zu wahren."
QUESTION = "Wie lange ist die Frist und wann kann ich kündigen?"


def make_index(users: Users, name: str, text: str, model: str) -> Index:
    RouteStep.objects.filter(route__name=seeding.EMBED_ROUTE).update(model=model)
    collection = services.create_collection(owner=users.owner, name=name)
    run_ingestion(services.add_file(collection=collection, name="a.txt", content=[text.encode()]).document)
    index = Collection.objects.select_related("serving").get(pk=collection.pk).serving
    assert index is not None
    return index


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        try:
            return await work()
        finally:
            await registry.aclose()

    return asyncio.run(whole())


def shifted(index: Index, query: str) -> tuple[Any, Any]:
    """Return the vector of a query, and the one that the index is searched with."""

    async def both() -> tuple[Any, Any]:
        vector = await embedder.embed_query(query, index, user=None)
        return vector, await shift_to_passages(vector, query, index)

    before, after = run(both)
    return before, after


def test_a_question_moves_to_the_language_of_the_passages(users: Users) -> None:
    index = make_index(users, "English", ENGLISH, E5.name)
    before, after = shifted(index, QUESTION)
    assert np.linalg.norm(after) == pytest.approx(1, abs=1e-5)
    means = run(lambda: embedder.embed([index.query_prompt + text for text in sentences()["english"]], model=index.model, user=None))
    english = means.matrix.mean(axis=0)
    assert after @ english > before @ english + 0.01
    assert 0 < STRENGTH < 1


def test_a_question_in_the_passages_language_stays(users: Users) -> None:
    index = make_index(users, "German", GERMAN, E5.name)
    before, after = shifted(index, QUESTION)
    assert after is before


def test_a_question_in_a_language_without_sentences_stays(users: Users) -> None:
    index = make_index(users, "English", ENGLISH, E5.name)
    before, after = shifted(index, "Πόσο διαρκεί η προθεσμία;")
    assert after is before


def test_other_models_get_the_question_as_it_is(users: Users) -> None:
    index = make_index(users, "English", ENGLISH, MINILM.name)
    before, after = shifted(index, QUESTION)
    assert after is before


def test_every_language_has_the_same_sentences() -> None:
    assert {len(each) for each in sentences().values()} == {12}
    assert {"english", "german", "french", "spanish", "japanese", "arabic"} <= sentences().keys()
