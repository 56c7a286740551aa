"""Upload to answer, with the built-in model."""

from __future__ import annotations

from asgiref.sync import async_to_sync

from search.models import Document
from search.ranking import query
from tests.search.conftest import CATS, ENGINES, Ingest
from tests.users import Users


def ask(users: Users, text: str, **options: object) -> query.Results:
    return async_to_sync(query.search)(users.owner, text, **options)  # type: ignore[arg-type]


def test_a_question_finds_the_passage_that_means_it(users: Users, ingest: Ingest) -> None:
    assert ingest("cats.md", CATS).state == Document.State.READY
    assert ingest("engines.md", ENGINES).state == Document.State.READY
    results = ask(users, "what do felines like to have for dinner?")
    assert results.problems == []
    best = results.found[0]
    assert best.chunk.document.name == "cats.md"
    assert best.chunk.heading == "Cats"
    assert best.semantic is not None
    assert best.semantic[0] == 1
