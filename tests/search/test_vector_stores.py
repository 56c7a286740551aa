"""Collections as OpenAI's vector stores: through the official client, with files from `/v1/files`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import openai
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.utils import timezone
from openai.types.vector_stores import VectorStoreFile

from search import services
from search.models import Chunk, Collection, Document
from search.vector_stores.services import delete_expired
from tests.gateway.api import Api
from tests.search.conftest import CATS, ENGINES
from tests.search.stores import client_of, filled, ingest_all, upload
from tests.users import Users
from webapp.backends.services import create_token

ORM = sync_to_async
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


async def test_a_store_is_a_collection_and_the_other_way_round(users: Users, client: openai.AsyncOpenAI) -> None:
    store = await client.vector_stores.create(name="Handbook", description="For all", metadata={"team": "a"})
    row = await Collection.objects.aget(pk=int(store.id.removeprefix("vs_")))
    assert (row.name, row.description, row.owner_id) == ("Handbook", "For all", users.owner.pk)
    await ORM(services.create_collection)(owner=users.owner, name="From the browser")
    names = [each.name async for each in client.vector_stores.list(order="asc")]
    assert names == ["Handbook", "From the browser"]
    assert (await client.vector_stores.retrieve(store.id)).metadata == {"team": "a"}


async def test_files_are_read_and_counted(client: openai.AsyncOpenAI) -> None:
    cats = await upload(client, "cats.md", CATS)
    store = await client.vector_stores.create(name="Pets", file_ids=[cats])
    assert (store.status, store.file_counts.in_progress, store.usage_bytes) == ("in_progress", 1, 0)
    await ingest_all()
    store = await client.vector_stores.retrieve(store.id)
    assert (store.status, store.file_counts.completed, store.file_counts.total) == ("completed", 1, 1)
    assert store.usage_bytes == len(CATS)
    file = await client.vector_stores.files.retrieve(cats, vector_store_id=store.id)
    assert (file.id, file.status, file.last_error, file.vector_store_id) == (cats, "completed", None, store.id)
    parts = await client.vector_stores.files.content(cats, vector_store_id=store.id)
    assert "Kittens play with wool" in (parts.data[0].text or "")


async def test_a_file_that_cannot_be_read_says_why(client: openai.AsyncOpenAI) -> None:
    store = await client.vector_stores.create()
    broken, archive = await upload(client, "x.pdf", b"%PDF-1.7 broken"), await upload(client, "x.png", PNG)
    for file_id in (broken, archive):
        await client.vector_stores.files.create(store.id, file_id=file_id)
    await ingest_all()
    errors = [each.last_error async for each in client.vector_stores.files.list(store.id, filter="failed", order="asc")]
    assert [error.code for error in errors if error] == ["invalid_file", "unsupported_file"]
    assert "damaged PDF" in errors[0].message if errors[0] else False


async def test_a_document_of_the_browser_is_a_file_of_the_store(users: Users, client: openai.AsyncOpenAI, collection: Collection) -> None:
    document = (await ORM(services.add_file)(collection=collection, name="cats.md", content=[CATS.encode()])).document
    await ingest_all()
    store_id = f"vs_{collection.pk}"
    [file] = (await client.vector_stores.files.list(store_id)).data
    assert file.id == f"file-{document.pk.hex}"
    updated = await client.vector_stores.files.update(file.id, vector_store_id=store_id, attributes={"lang": "en"})
    assert updated.attributes == {"lang": "en"}
    found = await client.vector_stores.search(
        store_id, query="what kittens play with", filters={"type": "eq", "key": "lang", "value": "en"}
    )
    assert found.data[0].file_id == file.id
    assert (await client.vector_stores.files.delete(file.id, vector_store_id=store_id)).deleted
    assert not await Document.objects.aexists()


async def test_search_answers_with_scores_attributes_and_text(client: openai.AsyncOpenAI) -> None:
    store, cats, _ = await filled(client)
    found = (await client.vector_stores.search(store.id, query=["what do cats eat?", "kittens and wool"], max_num_results=2)).data
    assert len(found) == 2
    assert found[0].file_id == cats
    assert found[0].filename == "cats.md"
    assert found[0].attributes == {"topic": "animals", "year": 2024}
    assert "Cats eat fish" in found[0].content[0].text or "wool" in found[0].content[0].text
    assert 1 >= found[0].score >= found[1].score >= 0


async def test_a_score_threshold_cuts_off_and_an_unrelated_question_scores_low(client: openai.AsyncOpenAI) -> None:
    store, _, _ = await filled(client)
    good = (await client.vector_stores.search(store.id, query="cats eat fish and mice")).data[0].score
    poor = (await client.vector_stores.search(store.id, query="quarterly revenue of the bank")).data
    assert not poor or poor[0].score < good / 2
    kept = (await client.vector_stores.search(store.id, query="cats eat fish and mice", ranking_options={"score_threshold": good})).data
    assert [each.score for each in kept] == [good]


FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({"type": "eq", "key": "topic", "value": "animals"}, {"cats.md"}),
    ({"type": "ne", "key": "topic", "value": "animals"}, {"engines.md"}),
    ({"type": "gt", "key": "year", "value": 2024}, {"engines.md"}),
    ({"type": "gte", "key": "year", "value": 2024}, {"cats.md", "engines.md"}),
    ({"type": "lt", "key": "year", "value": 2025.5}, {"cats.md"}),
    ({"type": "lte", "key": "topic", "value": "b"}, {"cats.md"}),
    ({"type": "in", "key": "topic", "value": ["machines", "plants"]}, {"engines.md"}),
    ({"type": "nin", "key": "topic", "value": ["machines", "plants"]}, {"cats.md"}),
    ({"type": "eq", "key": "old", "value": True}, {"engines.md"}),
    ({"type": "eq", "key": "old", "value": 1}, set()),
    ({"type": "ne", "key": "old", "value": True}, {"cats.md"}),
    ({"type": "gt", "key": "topic", "value": 5}, set()),
    ({"type": "and", "filters": [{"type": "eq", "key": "topic", "value": "animals"}, {"type": "gt", "key": "year", "value": 2025}]}, set()),
    (
        {
            "type": "or",
            "filters": [
                {"type": "eq", "key": "topic", "value": "animals"},
                {"type": "and", "filters": [{"type": "eq", "key": "old", "value": True}, {"type": "gt", "key": "year", "value": 2025}]},
            ],
        },
        {"cats.md", "engines.md"},
    ),
]


async def test_filters_limit_a_search_to_matching_files(client: openai.AsyncOpenAI) -> None:
    store, _, _ = await filled(client)
    for wanted, names in FILTERS:
        found = await client.vector_stores.search(store.id, query="cats and engines", filters=wanted)  # type: ignore[arg-type]
        assert {each.filename for each in found.data} == names, wanted


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"type": "like", "key": "a", "value": "b"}, "filters.type"),
        ({"type": "eq", "value": "b"}, "filters.key"),
        ({"type": "eq", "key": "a", "value": {}}, "filters.value"),
        ({"type": "in", "key": "a", "value": "b"}, "filters.value"),
        ({"type": "and", "filters": []}, "filters.filters"),
        ({"type": "or", "filters": [{"type": "and", "filters": [{"type": "gt"}]}]}, "filters.filters[0].filters[0].key"),
    ],
)
async def test_a_wrong_filter_is_refused_with_its_place(api: Api, collection: Collection, wanted: Any, param: str) -> None:
    answer = await api.post(f"vector_stores/vs_{collection.pk}/search", {"query": "a", "filters": wanted})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_the_chunking_strategy_sets_size_and_overlap(client: openai.AsyncOpenAI) -> None:
    text = " ".join(f"Sentence number {number} says something of its own." for number in range(200))
    file_id = await upload(client, "long.txt", text)
    store = await client.vector_stores.create()
    static = {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}
    strategy: Any = {"type": "static", "static": static}
    file = await client.vector_stores.files.create(store.id, file_id=file_id, chunking_strategy=strategy)
    assert file.chunking_strategy is not None
    assert file.chunking_strategy.model_dump() == strategy
    await ingest_all()
    chunks = [chunk async for chunk in Chunk.objects.order_by("start")]
    assert all(chunk.tokens <= 100 for chunk in chunks)
    assert all(later.start < earlier.end for earlier, later in pairwise(chunks))
    strategy["static"]["chunk_overlap_tokens"] = 51
    with pytest.raises(openai.BadRequestError, match="at most half"):
        await client.vector_stores.files.create(store.id, file_id=file_id, chunking_strategy=strategy)


async def test_a_batch_of_files_has_its_own_counts_and_can_be_cancelled(client: openai.AsyncOpenAI) -> None:
    store = await client.vector_stores.create()
    files = [await upload(client, f"{number}.md", f"# Page {number}\n\nText {number}.") for number in range(3)]
    first = await client.vector_stores.file_batches.create(store.id, file_ids=files[:2], attributes={"batch": 1})
    await ingest_all()
    first = await client.vector_stores.file_batches.retrieve(first.id, vector_store_id=store.id)
    assert (first.status, first.file_counts.completed) == ("completed", 2)
    second = await client.vector_stores.file_batches.create(
        store.id, files=[{"file_id": files[2], "attributes": {"n": 2}, "chunking_strategy": {"type": "auto"}}]
    )
    cancelled = await client.vector_stores.file_batches.cancel(second.id, vector_store_id=store.id)
    assert (cancelled.status, cancelled.file_counts.cancelled) == ("cancelled", 1)
    await ingest_all()
    page = await client.vector_stores.file_batches.list_files(second.id, vector_store_id=store.id, filter="cancelled")
    assert [file.id for file in page.data] == [files[2]]
    assert (await client.vector_stores.retrieve(store.id)).file_counts.cancelled == 1
    again = await client.vector_stores.files.create(store.id, file_id=files[2])
    assert again.status == "in_progress"


async def test_lists_are_paged_by_after_and_before(client: openai.AsyncOpenAI) -> None:
    stores = [await client.vector_stores.create(name=f"S{number}") for number in range(5)]
    ids = [store.id for store in stores]
    newest = await client.vector_stores.list(limit=2)
    assert [store.id for store in newest.data] == [ids[4], ids[3]]
    assert [store.id for store in (await newest.get_next_page()).data] == [ids[2], ids[1]]
    back = await client.vector_stores.list(limit=2, before=ids[1])
    assert [store.id for store in back.data] == [ids[3], ids[2]]
    upward = await client.vector_stores.list(order="asc", after=ids[0], before=ids[3])
    assert [store.id for store in upward.data] == ids[1:3]
    await client.vector_stores.delete(ids[2])
    assert [store.id for store in (await client.vector_stores.list(after=ids[2])).data] == [ids[1], ids[0]]
    assert (await client.vector_stores.list(after="nothing", limit=0)).data == []


async def test_files_are_paged_too(client: openai.AsyncOpenAI) -> None:
    store = await client.vector_stores.create()
    files = [await upload(client, f"{number}.md", f"Text {number}.") for number in range(4)]
    await client.vector_stores.file_batches.create(store.id, file_ids=files)
    seen: list[VectorStoreFile] = [each async for each in client.vector_stores.files.list(store.id, limit=1, order="asc")]
    assert sorted(file.id for file in seen) == sorted(files)


async def test_stores_may_share_a_name_or_have_none(client: openai.AsyncOpenAI) -> None:
    first, second = await client.vector_stores.create(name="Same"), await client.vector_stores.create(name="Same")
    nameless = await client.vector_stores.create()
    assert (first.name, second.name, nameless.name) == ("Same", "Same", "")
    assert [name async for name in Collection.objects.order_by("pk").values_list("name", flat=True)] == ["Same", "Same (2)", "Vector store"]
    renamed = await client.vector_stores.update(second.id, name="Other")
    assert renamed.name == "Other"
    assert (await Collection.objects.aget(name="Other")).api_name is None


async def test_an_unused_store_expires_and_an_update_revives_it(client: openai.AsyncOpenAI) -> None:
    store, _, _ = await filled(client)
    store = await client.vector_stores.update(store.id, expires_after={"anchor": "last_active_at", "days": 7})
    assert store.expires_at == (store.last_active_at or 0) + 7 * 86_400
    long_ago = timezone.now() - timedelta(days=8)
    await Collection.objects.aupdate(last_active_at=long_ago)
    assert (await client.vector_stores.retrieve(store.id)).status == "expired"
    with pytest.raises(openai.BadRequestError, match="expired"):
        await client.vector_stores.search(store.id, query="cats")
    assert await ORM(delete_expired)() == 2
    store = await client.vector_stores.update(store.id, expires_after=None)
    assert (store.status, store.file_counts.total, store.expires_at) == ("completed", 0, None)


async def test_a_search_postpones_the_expiry(client: openai.AsyncOpenAI) -> None:
    store = await client.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 7})
    await Collection.objects.aupdate(last_active_at=timezone.now() - timedelta(days=6))
    await client.vector_stores.search(store.id, query="cats")
    row = await Collection.objects.aget()
    assert row.last_active_at is not None
    assert timezone.now() - row.last_active_at < timedelta(minutes=1)


async def test_a_deleted_file_leaves_its_stores(client: openai.AsyncOpenAI) -> None:
    store, cats, engines = await filled(client)
    await client.files.delete(cats)
    assert [file.id for file in (await client.vector_stores.files.list(store.id)).data] == [engines]


async def test_another_user_finds_nothing(users: Users, api: Api, client: openai.AsyncOpenAI) -> None:
    """FAULTS 63."""
    store, cats, _ = await filled(client)
    batch = await client.vector_stores.file_batches.create(store.id, file_ids=[cats])
    stranger = client_of(api, (await ORM(create_token)(user=users.other, label="x"))[1])
    calls: list[Callable[[], Any]] = [
        lambda: stranger.vector_stores.retrieve(store.id),
        lambda: stranger.vector_stores.update(store.id, name="x"),
        lambda: stranger.vector_stores.delete(store.id),
        lambda: stranger.vector_stores.search(store.id, query="cats"),
        lambda: stranger.vector_stores.files.list(store.id),
        lambda: stranger.vector_stores.files.retrieve(cats, vector_store_id=store.id),
        lambda: stranger.vector_stores.files.content(cats, vector_store_id=store.id),
        lambda: stranger.vector_stores.files.update(cats, vector_store_id=store.id, attributes={}),
        lambda: stranger.vector_stores.files.delete(cats, vector_store_id=store.id),
        lambda: stranger.vector_stores.files.create(store.id, file_id=cats),
        lambda: stranger.vector_stores.file_batches.create(store.id, file_ids=[cats]),
        lambda: stranger.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id),
        lambda: stranger.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id),
        lambda: stranger.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id),
    ]
    for call in calls:
        with pytest.raises(openai.NotFoundError):
            await call()
    assert (await stranger.vector_stores.list()).data == []
    own = await stranger.vector_stores.create()
    with pytest.raises(openai.NotFoundError):
        await stranger.vector_stores.files.create(own.id, file_id=cats)


async def test_members_of_a_group_search_and_read_but_do_not_change(users: Users, api: Api, client: openai.AsyncOpenAI) -> None:
    store, cats, _ = await filled(client)
    team = await Group.objects.acreate(name="Team")
    await users.other.groups.aadd(team)
    await (await Collection.objects.aget(pk=int(store.id[3:]))).groups.aadd(team)
    member = client_of(api, (await ORM(create_token)(user=users.other, label="x"))[1])
    assert (await member.vector_stores.search(store.id, query="cats")).data[0].file_id == cats
    for call in (
        lambda: member.vector_stores.update(store.id, name="x"),
        lambda: member.vector_stores.delete(store.id),
        lambda: member.vector_stores.files.delete(cats, vector_store_id=store.id),
    ):
        with pytest.raises(openai.PermissionDeniedError):
            await call()


async def test_a_token_needs_the_scope(users: Users, api: Api, client: openai.AsyncOpenAI) -> None:
    store = await client.vector_stores.create()
    reader = client_of(api, (await ORM(create_token)(user=users.owner, label="x", scopes=["search"]))[1])
    assert (await reader.vector_stores.retrieve(store.id)).id == store.id
    with pytest.raises(openai.PermissionDeniedError, match="'files'"):
        await reader.vector_stores.delete(store.id)
    writer = client_of(api, (await ORM(create_token)(user=users.owner, label="x", scopes=["files"]))[1])
    with pytest.raises(openai.PermissionDeniedError, match="'search'"):
        await writer.vector_stores.search(store.id, query="x")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("vector_stores", {"expires_after": {"anchor": "created_at", "days": 1}}, "expires_after.anchor"),
        ("vector_stores", {"expires_after": {"anchor": "last_active_at", "days": 366}}, "expires_after.days"),
        ("vector_stores", {"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        ("vector_stores", {"file_ids": ["file-1"] * 501}, "file_ids"),
        ("vector_stores/VS/files", {}, "file_id"),
        ("vector_stores/VS/files", {"file_id": "file-1", "attributes": {"a": [1]}}, "attributes.a"),
        ("vector_stores/VS/files", {"file_id": "file-1", "attributes": {"a": "x" * 513}}, "attributes.a"),
        ("vector_stores/VS/files", {"file_id": "file-1", "attributes": {"a" * 65: 1}}, "attributes"),
        ("vector_stores/VS/file_batches", {"file_ids": ["file-1"] * 2001}, "file_ids"),
        ("vector_stores/VS/search", {"query": "a", "max_num_results": 51}, "max_num_results"),
        ("vector_stores/VS/search", {"query": []}, "query"),
        ("vector_stores/VS/search", {"query": "a", "ranking_options": {"score_threshold": 2}}, "ranking_options.score_threshold"),
    ],
)
async def test_limits_are_openais(api: Api, collection: Collection, path: str, body: Any, param: str) -> None:
    answer = await api.post(path.replace("VS", f"vs_{collection.pk}"), body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


async def test_an_unknown_file_is_a_404_and_nothing_is_created(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="file-nothing"):
        await client.vector_stores.create(file_ids=["file-nothing"])
    assert not await Collection.objects.aexists()


async def test_a_repeated_request_with_an_idempotency_key_creates_one_store(client: openai.AsyncOpenAI) -> None:
    headers = {"idempotency-key": "once"}
    first, second = [await client.vector_stores.create(name="One", extra_headers=headers) for _ in range(2)]
    assert first.id == second.id


async def test_adding_a_file_twice_keeps_one_file_with_the_new_attributes(client: openai.AsyncOpenAI) -> None:
    store, cats, _ = await filled(client)
    file = await client.vector_stores.files.create(store.id, file_id=cats, attributes={"topic": "pets"})
    assert (file.status, file.attributes) == ("completed", {"topic": "pets"})
    assert (await client.vector_stores.retrieve(store.id)).file_counts.total == 2


async def test_two_files_of_the_same_content_are_two_files(client: openai.AsyncOpenAI) -> None:
    store = await client.vector_stores.create()
    files = [await upload(client, "cats.md", CATS) for _ in range(2)]
    await client.vector_stores.file_batches.create(store.id, file_ids=files)
    await ingest_all()
    assert (await client.vector_stores.retrieve(store.id)).file_counts.completed == 2


async def test_the_clients_helpers_poll_to_the_end(client: openai.AsyncOpenAI) -> None:
    store = await client.vector_stores.create()

    async def work() -> None:
        while True:
            await ingest_all()
            await asyncio.sleep(0.05)

    worker = asyncio.create_task(work())
    try:
        file = await client.vector_stores.files.upload_and_poll(
            vector_store_id=store.id, file=("cats.md", CATS.encode()), poll_interval_ms=50
        )
        batch = await client.vector_stores.file_batches.upload_and_poll(
            vector_store_id=store.id, files=[("engines.md", ENGINES.encode())], poll_interval_ms=50
        )
    finally:
        worker.cancel()
    assert file.status == "completed"
    assert (batch.status, batch.file_counts.completed) == ("completed", 1)


async def test_a_document_that_is_being_deleted_is_not_shown_and_its_file_can_be_added_again(client: openai.AsyncOpenAI) -> None:
    store, cats, engines = await filled(client)
    await Document.objects.filter(name="cats.md").aupdate(state=Document.State.DELETING)
    assert [file.id for file in (await client.vector_stores.files.list(store.id)).data] == [engines]
    assert [each.file_counts.total async for each in client.vector_stores.list()] == [1]
    with pytest.raises(openai.NotFoundError):
        await client.vector_stores.files.retrieve(cats, vector_store_id=store.id)
    assert (await client.vector_stores.files.create(store.id, file_id=cats)).status == "in_progress"
    assert (await client.vector_stores.retrieve(store.id)).file_counts.total == 2


async def test_a_cited_document_of_the_browser_can_be_fetched_by_its_readers(
    users: Users, api: Api, client: openai.AsyncOpenAI, collection: Collection
) -> None:
    document = (await ORM(services.add_file)(collection=collection, name="cats.md", content=[CATS.encode()])).document
    file_id = f"file-{document.pk.hex}"
    file = await client.files.retrieve(file_id)
    assert (file.filename, file.bytes, file.purpose) == ("cats.md", len(CATS), "assistants")
    assert (await client.files.content(file_id)).content == CATS.encode()
    member = client_of(api, (await ORM(create_token)(user=users.other, label="x"))[1])
    with pytest.raises(openai.NotFoundError):
        await member.files.content(file_id)
    team = await Group.objects.acreate(name="Team")
    await users.other.groups.aadd(team)
    await collection.groups.aadd(team)
    assert (await member.files.content(file_id)).content == CATS.encode()
    files_only = client_of(api, (await ORM(create_token)(user=users.owner, label="x", scopes=["files"]))[1])
    with pytest.raises(openai.NotFoundError):
        await files_only.files.retrieve(file_id)
    with pytest.raises(openai.NotFoundError):
        await client.files.delete(file_id)
