"""The embedding models of collections: the multilingual default, and the offer of it to collections of the former one."""

from __future__ import annotations

from importlib import import_module

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.test import Client

from search.models import DEFAULT_MODEL, Collection, Index
from search.ranking import query
from tests.search.conftest import CATS, ENGINES, Ingest
from tests.users import Users
from webapp.backends.models import RouteStep
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
def test_a_question_finds_the_passage_in_another_language(question: str, multilingual: Collection, cast: Users, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    ingest("engines.md", ENGINES)
    results = async_to_sync(query.search)(cast.owner, question)
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
    import_module("search.migrations.0009_index_prompts").pin(apps, None)
    assert Index.objects.get().model == f"builtin/{MINILM.name}"
