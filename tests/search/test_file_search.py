"""Collections as the `file_search` tool of `/v1/responses` searches them."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync

from search.file_search import CollectionSearch
from search.models import Collection
from tests.search.conftest import CATS, ENGINES, Ingest
from tests.users import Users
from webapp.patterns.agent.tools import ToolError


def find(user: Any, *queries: str, **tool: Any) -> Any:
    return async_to_sync(CollectionSearch().search)(user, {"type": "file_search", **tool}, queries)


def test_the_best_passages_of_all_queries_are_found_once(users: Users, collection: Collection, ingest: Ingest) -> None:
    cats, _ = ingest("cats.md", CATS), ingest("engines.md", ENGINES)
    found = find(users.owner, "fish for cats", "what kittens eat", vector_store_ids=[f"vs_{collection.pk}"])
    assert found[0]["filename"] == "cats.md"
    assert found[0]["file_id"] == f"file-{cats.pk.hex}"
    assert 0.4 < found[0]["score"] <= 1
    assert len({(each["filename"], each["text"]) for each in found}) == len(found)
    assert len(find(users.owner, "cats", vector_store_ids=[collection.name], max_num_results=1)) == 1
    best = find(users.owner, "cats")[0]["score"]
    assert [each["score"] for each in find(users.owner, "cats", ranking_options={"score_threshold": best})] == [best]


def test_a_filter_limits_the_search_to_files_with_matching_attributes(users: Users, collection: Collection, ingest: Ingest) -> None:
    cats, engines = ingest("cats.md", CATS), ingest("engines.md", ENGINES)
    cats.attributes, engines.attributes = {"year": 2024}, {"year": 2026}
    cats.save(update_fields=["attributes"])
    engines.save(update_fields=["attributes"])
    found = find(users.owner, "cats", vector_store_ids=["Library"], filters={"type": "gte", "key": "year", "value": 2025})
    assert {each["filename"] for each in found} == {"engines.md"}
    assert found[0]["attributes"] == {"year": 2026}


def test_a_collection_of_somebody_else_does_not_exist(users: Users, collection: Collection, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    for name in (f"vs_{collection.pk}", "Library", "vs_x", "vs_" + "9" * 30):
        with pytest.raises(ToolError, match="no vector store"):
            find(users.other, "cats", vector_store_ids=[name])
