"""The answers of a batch as a collection: one click, again after more came."""

from __future__ import annotations

import json

import pytest
from django.test import Client

from batches.models import Batch, BatchRow
from batches.results import text_collection
from search import services
from search.models import Collection, Document
from tests.batches.conftest import make_batch
from tests.batches.views.test_monitor import finished
from tests.users import Users
from webapp.patterns.errors import InputError


def documents(collection: Collection) -> dict[str, list[dict[str, str]]]:
    found = collection.documents.order_by("created_at")
    return {each.name: [json.loads(line) for line in services.file_path(each.pk).read_text().splitlines()] for each in found}


def test_a_click_makes_a_collection_of_what_was_asked_and_answered(as_owner: Client, users: Users) -> None:
    batch = finished(users)
    assert "Search these results" in as_owner.get(f"/batches/{batch.pk}/").content.decode()
    response = as_owner.post(f"/batches/{batch.pk}/search/")
    collection = Collection.objects.get()
    assert response["Location"] == f"/search/collections/{collection.pk}/"
    assert collection.owner == users.owner
    ((name, rows),) = documents(collection).items()
    assert name == "Rows 1 to 3.jsonl"
    assert rows == [{"custom_id": f"row-{number}", "asked": f"question {number}", "answer": "=1+1 <b>bold</b>"} for number in (1, 2)], (
        "the row that failed has no answer"
    )


def test_another_click_adds_only_what_came_since(as_owner: Client, users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_collection, "ROWS_A_DOCUMENT", 2)
    batch = finished(users)
    text_collection.index(batch=batch)
    collection = Collection.objects.get()
    assert [*documents(collection)] == ["Rows 1 to 2.jsonl"], "a run of rows without an answer makes no document"
    done = BatchRow.objects.get(batch=batch, number=1).response
    BatchRow.objects.filter(batch=batch, number=3).update(state=1, response=done)
    text_collection.index(batch=batch)
    assert [*documents(Collection.objects.get())] == ["Rows 1 to 2.jsonl", "Rows 3 to 3.jsonl"]


@pytest.mark.parametrize("changes", [{"completed": 0}, {"endpoint": "/v1/embeddings"}])
def test_what_has_no_words_cannot_be_searched(as_owner: Client, users: Users, changes: dict[str, object]) -> None:
    batch = finished(users)
    Batch.objects.filter(pk=batch.pk).update(**changes)
    batch.refresh_from_db()
    with pytest.raises(InputError):
        text_collection.index(batch=batch)
    response = as_owner.post(f"/batches/{batch.pk}/search/", follow=True)
    assert b"no text answers" in response.content
    assert not Document.objects.exists()


def test_anothers_batch_cannot_be_searched(as_other: Client, users: Users) -> None:
    """FAULTS 7."""
    batch = make_batch(users.owner, [b"{}\n"])
    assert as_other.post(f"/batches/{batch.pk}/search/").status_code == 404
