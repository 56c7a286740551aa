"""The list of documents: filters, pages, uploads, and changes of many documents at once."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from search import deletion, document_list, ingestion, selectors, services, uploads
from search.document_list import ListFilters
from search.models import Chunk, Collection, Document, Upload
from tests.search.conftest import CATS, ENGINES, Ingest, run_ingestion

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}


def add_documents(collection: Collection, count: int, **fields: Any) -> list[Document]:
    """Add rows, the newest last."""
    began = timezone.now() - timedelta(hours=1)
    rows = [Document(collection=collection, name=f"{number:05}.md", **{"state": "ready", **fields}) for number in range(count)]
    Document.objects.bulk_create(rows)
    for number, row in enumerate(rows):
        row.created_at = began + timedelta(seconds=number // 2)  # two of each moment
    Document.objects.bulk_update(rows, ["created_at"], batch_size=500)
    return rows


def names(page: document_list.Page) -> list[str]:
    return [document.name for document in page.documents]


def test_pages_forward_and_back_show_every_document_once_in_one_order(collection: Collection) -> None:
    add_documents(collection, 25)
    Document.objects.filter(name__in=("00003.md", "00004.md", "00020.md")).update(state="failed")
    Document.objects.filter(name="00007.md").update(state="parsing")
    found = ListFilters().matching(collection)
    forward = [document_list.read_page(found, size=4)]
    while forward[-1].older:
        forward.append(document_list.read_page(found, after=forward[-1].older, size=4))
    seen = [name for page in forward for name in names(page)]
    assert seen[:4] == ["00020.md", "00004.md", "00003.md", "00007.md"]
    assert sorted(seen) == [f"{number:05}.md" for number in range(25)]
    backward = [forward[-1]]
    while backward[-1].newer:
        backward.append(document_list.read_page(found, before=backward[-1].newer, size=4))
    assert [name for page in reversed(backward) for name in names(page)][-12:] == seen[-12:]
    assert names(backward[-1]) == seen[:4]


@pytest.mark.parametrize("key", ["", "x", "1-2", "9-1-" + "a" * 32, "0-99999999999999999999999-" + "a" * 32, "0-1-zz", "\x00"])
def test_a_place_that_cannot_be_read_shows_the_first_page(as_owner: Client, collection: Collection, key: str) -> None:
    add_documents(collection, 3)
    page = as_owner.get(f"/search/collections/{collection.pk}/documents/", {"after": key}, headers=PARTIAL)
    assert page.content.decode().count('data-testid="document-row"') == 3


def test_a_page_behind_the_last_document_shows_the_first(collection: Collection) -> None:
    rows = add_documents(collection, 3)
    found = ListFilters().matching(collection)
    last = document_list.Key.of(rows[0])
    Document.objects.filter(pk=rows[0].pk).delete()
    Document.objects.filter(pk=rows[1].pk).delete()
    assert names(document_list.read_page(found, after=last)) == ["00002.md"]


def test_filters_narrow_the_list_and_count_each_state(as_owner: Client, collection: Collection) -> None:
    add_documents(collection, 4, kind="pdf", tags=["draft", "law"])
    add_documents(collection, 3, kind="docx")
    Document.objects.filter(name="00002.md").update(state="failed", why="It is empty")
    address = f"/search/collections/{collection.pk}/documents/"

    def rows(**query: str) -> list[str]:
        page = as_owner.get(address, query, headers=PARTIAL).content.decode()
        return re.findall(r'aria-label="Select ([^"]+)"', page)

    assert len(rows(kind="pdf")) == 4
    assert len(rows(tag="law")) == 4
    assert rows(tag="la") == []
    assert rows(name="0003") == ["00003.md"]
    assert rows(state="failed") == ["00002.md", "00002.md"]
    assert len(rows(state="nonsense")) == 7
    counts = ListFilters(kind="docx").counts(collection)
    assert counts == {"ready": 2, "failed": 1}
    assert "No document matches" in as_owner.get(address, {"name": "zzz"}, headers=PARTIAL).content.decode()


def test_the_address_of_the_page_holds_its_filters(as_owner: Client, collection: Collection) -> None:
    response = as_owner.get(f"/search/collections/{collection.pk}/documents/", {"name": "a b", "state": "ready", "kind": ""})
    assert response["HX-Replace-Url"] == f"/search/collections/{collection.pk}/?name=a+b&state=ready"


def change(client: Client, collection: Collection, query: str = "", **form: Any) -> str:
    address = f"/search/collections/{collection.pk}/documents/change/"
    return client.post(address + query, form, headers=PARTIAL).content.decode()


def test_the_selected_documents_are_tagged_and_untagged(as_owner: Client, collection: Collection) -> None:
    rows = add_documents(collection, 3)
    chosen = [str(row.pk) for row in rows[:2]]
    assert "2 documents are tagged “big law”" in change(as_owner, collection, do="tag", tag=" Big  Law\n", document=chosen)
    assert list(Document.objects.order_by("name").values_list("tags", flat=True)) == [["big law"], ["big law"], []]
    change(as_owner, collection, do="tag", tag="a", document=chosen[:1])
    assert "1 document is no longer tagged" in change(as_owner, collection, do="untag", tag="big law", document=chosen[:1])
    assert list(Document.objects.order_by("name").values_list("tags", flat=True)) == [["a"], ["big law"], []]
    assert "Enter a tag" in change(as_owner, collection, do="tag", tag="  ", document=chosen)


def test_all_that_match_are_deleted_and_the_others_stay(as_owner: Client, collection: Collection, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    kept = ingest("engines.md", ENGINES)
    page = change(as_owner, collection, "?name=CATS", do="delete", all="1")
    assert "1 document is deleted" in page
    assert "Deleting 1 document" in page
    assert "cats.md" not in as_owner.get("/search/", {"q": "kittens"}).content.decode()
    while deletion.delete_next():
        pass
    assert list(Document.objects.all()) == [kept]
    assert set(Chunk.objects.values_list("document", flat=True)) == {kept.pk}


def test_a_document_that_is_being_deleted_may_be_added_again(collection: Collection) -> None:
    services.add_file(collection=collection, name="a.md", content=[b"one"])
    services.delete_documents(documents=Document.objects.all())
    second = services.add_file(collection=collection, name="a.md", content=[b"one"])
    assert not second.existed
    assert second.document.replaces_id is None


def test_a_worker_does_not_bring_back_a_document_that_is_deleted_meanwhile(collection: Collection) -> None:
    document = services.add_file(collection=collection, name="a.md", content=[b"one"]).document
    claimed = ingestion.claim_one(document)
    assert claimed
    services.delete_documents(documents=Document.objects.all())
    asyncio.run(ingestion.ingest(claimed))
    document.refresh_from_db()
    assert document.state == Document.State.DELETING
    assert not Chunk.objects.exists()


def test_documents_that_are_read_again_are_found_again(as_owner: Client, collection: Collection, ingest: Ingest) -> None:
    document = ingest("cats.md", CATS)
    assert "1 document is queued to be read again" in change(as_owner, collection, do="reread", document=str(document.pk))
    assert 'data-testid="search-result"' not in as_owner.get("/search/", {"q": "kittens"}).content.decode()
    run_ingestion(document)
    assert "cats.md" in as_owner.get("/search/", {"q": "kittens"}).content.decode()


def test_a_button_of_a_row_changes_that_row_alone(as_owner: Client, collection: Collection) -> None:
    rows = add_documents(collection, 2, state="failed")
    change(as_owner, collection, one=f"retry:{rows[0].pk}", document=str(rows[1].pk), all="1")
    assert list(Document.objects.order_by("name").values_list("state", flat=True)) == ["queued", "failed"]


def test_wrong_changes_are_refused(as_owner: Client, as_other: Client, collection: Collection) -> None:
    rows = add_documents(collection, 1)
    address = f"/search/collections/{collection.pk}/documents/change/"
    for form in ({}, {"do": "explode"}, {"do": "delete", "document": "x"}, {"one": "delete:x"}):
        assert as_owner.post(address, form).status_code == 400, form
    assert as_other.post(address, {"do": "delete", "document": str(rows[0].pk)}).status_code == 404
    foreign = Collection.objects.create(owner=collection.owner, name="Another")
    as_owner.post(f"/search/collections/{foreign.pk}/documents/change/", {"do": "delete", "document": str(rows[0].pk)})
    assert Document.objects.get().state == "ready"


def portion(*contents: bytes) -> list[SimpleUploadedFile]:
    return [SimpleUploadedFile(f"{content.decode()}.md", content) for content in contents]


def send(client: Client, collection: Collection, *contents: bytes, **form: Any) -> int:
    address = f"/search/collections/{collection.pk}/upload/"
    answer = client.post(address, {"files": portion(*contents), **form}, headers={"Accept": "application/json"})
    return int(answer.json()["upload"])


def test_an_upload_in_portions_shows_its_progress_after_a_reload(as_owner: Client, collection: Collection) -> None:
    address = f"/search/collections/{collection.pk}/"
    upload = send(as_owner, collection, b"a", b"b", announced="4")
    assert "0 of 4 read" in as_owner.get(address).content.decode()
    assert send(as_owner, collection, b"c", b"a", upload=upload) == upload
    for document in Document.objects.all():
        run_ingestion(document)
    Document.objects.filter(name="b.md").update(state="failed", why="It is empty")
    page = as_owner.get(address).content.decode()
    assert "3 of 4 read, 1 failed" in page
    assert "Already in this collection: a.md" in page
    assert page.index("b.md") < page.index("c.md"), "failures come first"
    as_owner.post(f"{address}uploads/{upload}/", {"do": "retry"})
    assert Document.objects.get(name="b.md").state == "queued"
    as_owner.post(f"{address}uploads/{upload}/", {"do": "dismiss"})
    assert "of 4 read" not in as_owner.get(address).content.decode()


def test_files_that_did_not_arrive_are_counted(as_owner: Client, collection: Collection) -> None:
    send(as_owner, collection, b"a", announced="300")
    Upload.objects.update(active_at=timezone.now() - timedelta(minutes=5))
    page = as_owner.get(f"/search/collections/{collection.pk}/").content.decode()
    assert "299 files did not arrive" in page


def test_a_file_that_is_refused_is_named_with_its_reason(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MAX_FILE_BYTES", 3)
    running = uploads.start_upload(collection=collection, announced=2)
    uploads.receive_files(upload=running, files=[("large.md", [b"four"]), ("small.md", [b"one"])])
    running.refresh_from_db()
    assert [file["name"] for file in running.refused] == ["large.md"]
    assert [progress.summary for progress in uploads.progress(collection)] == ["0 of 2 read, 1 failed"]


def test_an_upload_of_another_collection_takes_no_files(as_owner: Client, collection: Collection) -> None:
    foreign = Collection.objects.create(owner=collection.owner, name="Another")
    upload = uploads.start_upload(collection=foreign, announced=1)
    address = f"/search/collections/{collection.pk}/upload/"
    assert as_owner.post(address, {"files": portion(b"a"), "upload": upload.pk}).status_code == 404
    assert as_owner.post(f"/search/collections/{collection.pk}/uploads/{upload.pk}/", {"do": "dismiss"}).status_code == 404
    assert as_owner.post(f"/search/collections/{foreign.pk}/uploads/{upload.pk}/", {"do": "x"}).status_code == 400


def test_states_of_one_group_are_listed_as_one_list(collection: Collection) -> None:
    rows = add_documents(collection, 12)
    for number, state in enumerate(("queued", "ready", "cancelled")):
        Document.objects.filter(pk__in=[row.pk for row in rows[number::3]]).update(state=state)
    expected = list(Document.objects.order_by("-created_at", "id").values_list("name", flat=True))
    first = document_list.read_page(ListFilters().matching(collection), size=5)
    second = document_list.read_page(ListFilters().matching(collection), after=first.older, size=5)
    assert names(first) + names(second) == expected[:10]
    assert names(document_list.read_page(ListFilters().matching(collection), before=second.newer, size=5)) == expected[:5]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the plans are those of SQLite")
def test_counts_are_read_from_an_index_without_the_documents(collection: Collection) -> None:
    add_documents(collection, 3, passages=2, size=10)
    with CaptureQueriesContext(connection) as queries:
        ListFilters().counts(collection)
        document_list.kinds(collection)
        selectors.collections_with_contents(collection.owner)
        selectors.recent(collection.owner)
    counting = [query["sql"] for query in queries if 'FROM "search_document"' in query["sql"]]
    with connection.cursor() as cursor:
        plans = [str(cursor.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()) for sql in counting]
    *counts, shown = plans  # the last one reads the documents that are shown, by their keys
    assert len(counts) == 4
    assert all("COVERING INDEX documents_listed" in plan for plan in counts), counts
    assert "(id=?)" in shown


def test_collections_say_what_they_hold(collection: Collection) -> None:
    add_documents(collection, 3, passages=2, size=10)
    Document.objects.filter(name="00000.md").update(state="deleting")
    empty = services.create_collection(owner=collection.owner, name="Empty")
    found = dict(selectors.collections_with_contents(collection.owner))
    assert found == {collection: selectors.Contents(documents=2, passages=4, bytes=20), empty: selectors.Contents()}
