"""The embedding models of collections: the multilingual default, and the offer of it to collections of the former one."""

from __future__ import annotations

import asyncio
from importlib import import_module
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.db import connection
from django.test import Client

from search import embedder, services
from search.index import engine, rebuild
from search.index.analysis import may_be_english
from search.models import DEFAULT_MODEL, Collection, Index
from search.ranking import query
from tests.search.conftest import CATS, ENGINES, Ingest
from tests.users import Users
from webapp.backends.models import RouteStep
from webapp.backends.runtime import registry
from webapp.builtin import E5, MINILM

OFFER = "Build an index with it"


@pytest.fixture
def multilingual(collection: Collection) -> Collection:
    """A collection that the default model of a new installation embeds."""
    RouteStep.objects.filter(model=MINILM.name).update(model=E5.name)
    return collection


@pytest.mark.parametrize(
    "question",
    ["Was fressen Katzen?", "Que mangent les chats ?", "¿Qué comen los gatos?", "猫は何を食べますか？", "ماذا تأكل القطط؟"],
)
def test_a_question_finds_the_passage_in_another_language(question: str, multilingual: Collection, users: Users, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    ingest("engines.md", ENGINES)
    results = async_to_sync(query.search)(users.owner, question)
    assert results.found[0].chunk.document.name == "cats.md"


def test_an_index_records_the_prompts_of_its_model(multilingual: Collection, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    index = Index.objects.get()
    assert (index.answered_by, index.query_prompt, index.passage_prompt) == (E5.name, "query: ", "passage: ")


def test_a_collection_of_the_former_model_is_offered_the_default_until_it_is_built(
    collection: Collection, as_owner: Client, ingest: Ingest
) -> None:
    ingest("cats.md", CATS)
    address = f"/search/collections/{collection.pk}/"
    assert OFFER in as_owner.get(address).content.decode()
    as_owner.post(f"{address}model/", {"model": DEFAULT_MODEL})
    assert OFFER not in as_owner.get(address).content.decode()


def test_a_collection_of_the_default_model_is_offered_nothing(multilingual: Collection, as_owner: Client, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    assert OFFER not in as_owner.get(f"/search/collections/{multilingual.pk}/").content.decode()


def test_the_upgrade_pins_existing_indexes_to_the_model_of_their_vectors(collection: Collection, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    import_module("search.migrations.0009_index_prompts").pin(apps, SimpleNamespace(connection=connection))
    assert Index.objects.get().model == f"builtin/{MINILM.name}"


def test_a_new_multilingual_collection_has_an_english_companion_that_its_documents_fill(users: Users, ingest: Ingest) -> None:
    RouteStep.objects.filter(model=MINILM.name).update(model=E5.name)
    made = services.create_collection(owner=users.owner, name="Both")
    document = ingest("cats.md", CATS, made)
    made.refresh_from_db()
    assert made.companion is not None
    assert made.companion.answered_by == MINILM.name
    assert engine().ids(made.companion) == set(document.chunks.values_list("pk", flat=True))


def test_both_asks_the_companion_for_english_questions_only(users: Users, ingest: Ingest) -> None:
    RouteStep.objects.filter(model=MINILM.name).update(model=E5.name)
    made = services.create_collection(owner=users.owner, name="Both")
    ingest("cats.md", CATS, made)
    ingest("engines.md", ENGINES, made)
    asked = {text: scores(users, text) for text in ("What do cats eat?", "Was fressen Katzen?")}
    assert made.companion is not None
    services.drop_index(index=made.companion)
    embedder.forget_queries()
    assert scores(users, "What do cats eat?") != asked["What do cats eat?"]
    assert scores(users, "Was fressen Katzen?") == asked["Was fressen Katzen?"]


def scores(users: Users, text: str) -> list[float]:
    return [result.score for result in async_to_sync(query.search)(users.owner, text).found]


def test_a_collection_of_the_former_model_keeps_that_index_as_the_companion_of_the_new_one(collection: Collection, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    collection.refresh_from_db()
    former = collection.serving
    RouteStep.objects.filter(model=MINILM.name).update(model=E5.name)
    build(services.change_model(collection=collection, model=DEFAULT_MODEL))
    collection.refresh_from_db()
    assert collection.serving is not None
    assert collection.serving.answered_by == E5.name
    assert collection.companion == former


def test_a_change_to_a_model_without_a_companion_ends_it(users: Users, ingest: Ingest) -> None:
    RouteStep.objects.filter(model=MINILM.name).update(model=E5.name)
    made = services.create_collection(owner=users.owner, name="Both")
    ingest("cats.md", CATS, made)
    build(services.change_model(collection=made, model=f"builtin/{MINILM.name}"))
    made.refresh_from_db()
    assert made.companion is None


def build(index: Index) -> None:
    """Build an index as the worker does."""
    claimed = Index.objects.select_related("collection__owner").get(pk=index.pk)

    async def run() -> None:
        try:
            await rebuild.build(claimed)
        finally:
            await registry.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("text", ["How do I open a file?", "sqlite unique constraint", "Does the café open at 8?", "PROJ-4711"])
def test_a_text_may_be_english(text: str) -> None:
    assert may_be_english(text)


@pytest.mark.parametrize(
    "text", ["Wie öffne ich eine Datei?", "Comment ouvrir un fichier ?", "¿Cómo abro un archivo?", "ファイルを開くには？", "كيف أفتح ملفا؟"]
)
def test_a_text_is_not_english(text: str) -> None:
    assert not may_be_english(text)


@pytest.mark.parametrize("question", ["How tall is Mount Everest?", "price of gold today"])
def test_a_question_about_another_subject_matches_nothing(question: str, users: Users, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    ingest("engines.md", ENGINES)
    assert async_to_sync(query.search)(users.owner, question).weak


@pytest.mark.parametrize("question", ["What do cats eat?", "fish and mice", "felines and their dinner", "wool"])
def test_a_question_that_a_passage_answers_is_not_weak(question: str, users: Users, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    assert not async_to_sync(query.search)(users.owner, question).weak
