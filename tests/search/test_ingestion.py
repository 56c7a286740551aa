"""From an upload to ready, and what happens when backends or processes fail on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError, connection
from django.db.backends.signals import connection_created
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from search import ingestion, leases, services, worker
from search.index import embed_index, engine, rebuild
from search.models import Chunk, Collection, Document, Index
from search.parsing.bounded import parse
from search.parsing.document import Parsed
from search.ranking import query
from search.ranking.query import Results
from tests.search.conftest import CATS, ENGINES, Ingest, embedded_only, run_ingestion
from tests.upstream import Received, Reply, Upstream, Wire, embeds, status
from tests.users import Users
from webapp.backends.models import Backend, BackendModel
from webapp.backends.runtime import registry
from webapp.backends.services.configuration import add_backend, set_route
from webapp.core.database import in_database
from webapp.core.leases import LeaseLost, renew, this_worker
from webapp.patterns.errors import EmbeddingError, InputError

State = Document.State


@pytest.fixture
def upstream(users: Users, make_upstream: Callable[..., Upstream]) -> Upstream:
    """A server that embeds in 8 dimensions, as the backend `up` with the models `small` and `other`."""
    server = make_upstream()
    backend = add_backend(name="up", base_url=server.base_url)
    Backend.objects.filter(pk=backend.pk).update(enabled=True)
    for name in ("small", "other"):
        BackendModel.objects.get_or_create(backend=backend, name=name, defaults={"capabilities": {"chat": False, "embeddings": True}})
    return server


@pytest.fixture
def collection(users: Users, upstream: Upstream) -> Collection:
    return services.create_collection(owner=users.owner, name="Library", model="up/small")


def serving(collection: Collection) -> Index:
    return Collection.objects.select_related("serving").get(pk=collection.pk).serving or pytest.fail("nothing serves")


def ask(users: Users, text: str, mode: query.Mode = "semantic") -> Results:
    return async_to_sync(query.search)(users.owner, text, mode=mode)


def build(index: Index) -> Index:
    """Build the index as the worker does."""
    claimed = rebuild.claim()
    assert claimed == index

    async def run() -> None:
        try:
            await rebuild.build(claimed)
        finally:
            await registry.aclose()

    asyncio.run(run())
    index.refresh_from_db()
    return index


def test_a_document_ends_ready_with_all_its_passages_in_the_index(collection: Collection, ingest: Ingest) -> None:
    document = ingest("cats.md", CATS)
    ids = set(Chunk.objects.filter(document=document).values_list("pk", flat=True))
    assert (document.state, document.kind, document.passages, document.embedded) == (State.READY, "markdown", len(ids), len(ids))
    assert engine().ids(serving(collection)) == ids
    assert serving(collection).answered_by == "small"


def test_the_same_content_is_not_added_twice(collection: Collection, ingest: Ingest) -> None:
    document = ingest("cats.md", CATS)
    added = services.add_file(collection=collection, name="copy.md", content=[CATS.encode()])
    assert (added.existed, added.document.pk) == (True, document.pk)


def test_the_same_name_replaces_once_the_new_one_is_ready(collection: Collection, ingest: Ingest, users: Users) -> None:
    old = ingest("pets.md", CATS)
    waiting = services.add_file(collection=collection, name="pets.md", content=[ENGINES.encode()]).document
    assert ask(users, "Kittens play with wool").found[0].chunk.document_id == old.pk
    run_ingestion(waiting)
    assert list(Document.objects.values_list("pk", flat=True)) == [waiting.pk]
    assert engine().ids(serving(collection)) == set(Chunk.objects.values_list("pk", flat=True))


def test_a_failed_new_version_leaves_the_old_one(collection: Collection, ingest: Ingest) -> None:
    old = ingest("pets.md", CATS)
    new = ingest("pets.md", bytes(range(256)) * 40)
    assert (new.state, new.why) == (State.FAILED, "It is binary data, not text")
    assert Document.objects.filter(pk=old.pk, state=State.READY).exists()


def test_equal_passages_are_embedded_once(collection: Collection, ingest: Ingest, upstream: Upstream, users: Users) -> None:
    ingest("cats.md", CATS)
    other = services.create_collection(owner=users.owner, name="Other", model="up/small")
    ingest("warm.md", ENGINES, other)
    asked = len(upstream.requests)
    assert ingest("cats2.md", CATS, other).state == State.READY
    assert len(upstream.requests) == asked
    assert engine().ids(serving(other)) == set(Chunk.objects.filter(collection=other).values_list("pk", flat=True))


def test_deleting_leaves_no_trace(collection: Collection, ingest: Ingest, users: Users) -> None:
    document = ingest("cats.md", CATS)
    path = services.file_path(document.pk)
    assert path.exists()
    services.delete_document(document=document)
    assert not path.exists()
    assert engine().ids(serving(collection)) == set()
    assert ask(users, "cats", mode="hybrid").found == []
    assert not Chunk.objects.exists()


def test_deleting_a_collection_removes_files_and_vectors(collection: Collection, ingest: Ingest, settings: object) -> None:
    ingest("cats.md", CATS)
    with CaptureQueriesContext(connection) as asked:
        services.delete_collection(collection=collection)
    assert not any('"search_document"."text"' in query["sql"] for query in asked), "all the texts at once would be much"
    home = settings.PATCHBAY_HOME  # type: ignore[attr-defined]  # pytest-django's settings take any name
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert not Document.objects.exists()


def test_a_backend_that_fails_is_named_and_a_retry_goes_on(collection: Collection, upstream: Upstream, ingest: Ingest) -> None:
    """FAULTS 46: the embedding backend fails half-way."""
    upstream.embeds = status(400, {"error": {"message": "no such thing"}})
    document = ingest("cats.md", CATS)
    assert document.state == State.FAILED
    assert "no such thing" in document.why
    upstream.embeds = embeds()
    services.retry_document(document=document)
    assert run_ingestion(document).state == State.READY


def test_another_dimension_is_named_and_the_old_index_keeps_serving(
    collection: Collection, upstream: Upstream, ingest: Ingest, users: Users
) -> None:
    """FAULTS 46: the embedding backend changes its dimension."""
    ingest("cats.md", CATS)
    upstream.embeds = embeds(16)
    document = ingest("engines.md", ENGINES)
    assert document.state == State.FAILED
    assert "16 dimensions and the index 8" in document.why
    results = ask(users, "kittens and their wool", mode="hybrid")
    assert results.found[0].chunk.document.name == "cats.md"
    assert results.problems == ["The query has 16 dimensions and the index 8: they come from different models"]
    assert len(engine().ids(serving(collection))) == Chunk.objects.filter(document__name="cats.md").count()


def test_a_route_that_comes_to_mean_another_model_is_refused(collection: Collection, ingest: Ingest, users: Users) -> None:
    ingest("cats.md", CATS)
    Index.objects.update(model="up/other")
    results = ask(users, "cats")
    assert results.found == []
    assert "answered by other, but the index holds vectors of small" in results.problems[0]


def test_another_model_is_built_beside_and_takes_over_at_once(
    collection: Collection, upstream: Upstream, ingest: Ingest, users: Users
) -> None:
    """FAULTS 47: while the new index is built, each query is answered whole from one index."""
    ingest("cats.md", CATS)
    old = serving(collection)
    upstream.embeds = embeds(32)
    new = services.change_model(collection=collection, model="up/other")
    assert serving(collection) == old
    upstream.embeds = embeds(8)
    assert [r.chunk.document.name for r in ask(users, "kittens").found] == ["cats.md"]
    upstream.embeds = embeds(32)
    build(new)
    assert (serving(collection), new.state, new.dimension) == (new, Index.State.READY, 32)
    assert engine().ids(new) == engine().ids(old)
    assert ask(users, "kittens").problems == []
    assert len(ask(users, "kittens").found) == len(engine().ids(new))


async def test_queries_that_run_while_an_index_is_built_are_answered_whole_from_one(
    collection: Collection, upstream: Upstream, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS 47: re-index while queries run: no empty or mixed results."""
    monkeypatch.setattr(embed_index, "BATCH", 2)
    text = "".join(f"# Part {number}\n\n{'word ' * 60}number {number}.\n\n" for number in range(12))
    document = (await in_database(services.add_file, collection=collection, name="parts.md", content=[text.encode()])).document
    claimed = await in_database(ingestion.claim_one, document)
    assert claimed
    await ingestion.ingest(claimed)
    new = await in_database(services.change_model, collection=collection, model="up/other")
    building_index = await in_database(rebuild.claim)
    assert building_index == new
    by_model = {"small": embeds(8), "other": embeds(32)}

    async def reply(received: Received, wire: Wire) -> None:
        await by_model[received.body["model"]](received, wire)

    upstream.embeds = reply
    building = asyncio.create_task(rebuild.build(building_index))
    answered: Counter[str] = Counter()
    while not (over := building.done()) or not answered["after"]:
        results = await query.search(users.owner, f"word {answered.total()}", mode="semantic")
        assert results.problems == []
        assert len(results.found) == 10
        answered["after" if over else "during"] += 1
    await registry.aclose()
    assert answered["during"] >= 3
    assert (await in_database(serving, collection)).pk == new.pk


def test_a_passage_that_two_workers_embed_is_in_the_index_once(collection: Collection, ingest: Ingest) -> None:
    """The build of an index has listed what is missing, and the document comes in before it gets there."""
    ingest("cats.md", CATS)
    new = services.change_model(collection=collection, model="up/other")
    todo = embed_index.missing(new)
    build(new)

    async def late(_done: int) -> None:
        return

    async def fill() -> None:
        await embed_index.fill(new, todo, user=collection.owner, progress=late)
        await registry.aclose()

    asyncio.run(fill())
    new.refresh_from_db()
    assert new.rows == len(todo)


@embedded_only
def test_lost_vectors_are_noticed_by_a_query_and_made_again(collection: Collection, ingest: Ingest, users: Users, tmp_path: Path) -> None:
    ingest("cats.md", CATS)
    for file in (tmp_path / "vectors").iterdir():
        file.unlink()
    results = ask(users, "kittens", mode="hybrid")
    assert [result.chunk.document.name for result in results.found] == ["cats.md"]
    assert results.found[0].semantic is None
    note = "“Library” is still being embedded. Until then, semantic search does not find all of its passages"
    assert results.problems == [note]
    assert ask(users, "kittens").problems == [note]
    assert ask(users, "kittens", mode="keyword").problems == []
    build(serving(collection))
    results = ask(users, "kittens", mode="hybrid")
    assert results.problems == []
    assert results.found[0].semantic is not None


@embedded_only
def test_lost_vectors_that_cannot_be_made_again_are_said_to_be_missing(
    collection: Collection, ingest: Ingest, upstream: Upstream, users: Users, tmp_path: Path
) -> None:
    """FAULTS 46."""
    ingest("cats.md", CATS)
    for file in (tmp_path / "vectors").iterdir():
        file.unlink()
    ask(users, "kittens")
    upstream.embeds = status(400, {"error": {"message": "no such thing"}})
    build(serving(collection))
    (problem,) = ask(users, "kittens", mode="hybrid").problems
    assert problem.startswith("Embedding the rest of “Library” failed, so semantic search does not find all of its passages: ")
    assert "no such thing" in problem


def test_a_document_added_while_an_index_is_built_is_in_both(collection: Collection, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    new = services.change_model(collection=collection, model="up/other")
    ingest("engines.md", ENGINES)
    new.refresh_from_db()
    ids = set(Chunk.objects.filter(document__name="engines.md").values_list("pk", flat=True))
    assert ids <= engine().ids(new)
    assert ids <= engine().ids(serving(collection))
    build(new)
    assert engine().ids(new) == set(Chunk.objects.values_list("pk", flat=True))


def test_a_build_that_fails_is_named_and_the_old_index_keeps_serving(
    collection: Collection, upstream: Upstream, ingest: Ingest, users: Users
) -> None:
    """FAULTS 46."""
    ingest("cats.md", CATS)
    old = serving(collection)
    new = services.change_model(collection=collection, model="up/other")
    upstream.embeds = status(400, {"error": {"message": "wrong model"}})
    build(new)
    assert (new.state, serving(collection)) == (Index.State.FAILED, old)
    assert "wrong model" in new.why
    upstream.embeds = embeds()
    assert ask(users, "kittens").found
    services.build_again(index=new)
    assert build(new).state == Index.State.READY


def test_a_killed_process_s_document_is_taken_over_and_only_what_lacks_is_embedded(
    collection: Collection, ingest: Ingest, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_index, "BATCH", 1)
    text = "".join(f"# Part {number}\n\n{'word ' * 60}number {number}.\n\n" for number in range(4))
    document = ingest("parts.md", text)
    ids = sorted(engine().ids(serving(collection)))
    assert len(ids) == 4
    engine().remove(serving(collection), ids[2:])
    Document.objects.update(state=State.EMBEDDING, lease_until=timezone.now() + timedelta(seconds=30))
    assert ingestion.claim() is None
    Document.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    asked = len(upstream.requests)
    assert run_ingestion(document).state == State.READY
    assert len(upstream.requests) == asked + 2
    assert engine().ids(serving(collection)) == set(ids)


def died(document: Document) -> None:
    """End the lease of a worker that was killed."""
    Document.objects.filter(pk=document.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_a_document_whose_reading_kills_the_process_each_time_fails_in_the_end(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = services.add_file(collection=collection, name="x.md", content=[b"# x\n\ntext"]).document

    async def kill(*_file: object, **_options: object) -> Parsed:
        raise OperationalError("the process was killed")

    with monkeypatch.context() as patched:
        patched.setattr(ingestion, "parse", kill)
        for _ in range(ingestion.MAX_TRIES):
            with pytest.raises(OperationalError):
                run_ingestion(document)
            died(document)
    assert run_ingestion(document).why == "Reading it was interrupted 3 times"


def test_deaths_of_the_process_while_a_document_waits_or_is_embedded_do_not_count(collection: Collection, upstream: Upstream) -> None:
    document = services.add_file(collection=collection, name="cats.md", content=[CATS.encode()]).document
    for _ in range(ingestion.MAX_TRIES + 1):
        assert ingestion.claim_one(document)
        died(document)
    document.refresh_from_db()
    assert document.tries == 0
    assert run_ingestion(document).state == State.READY


def test_a_worker_that_slept_through_its_lease_changes_nothing(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    document = services.add_file(collection=collection, name="cats.md", content=[CATS.encode()]).document
    stale = ingestion.claim_one(document)
    assert stale
    died(document)
    fresh = ingestion.claim_one(document)
    assert fresh

    async def run() -> None:
        await ingestion.ingest(stale)
        assert (await Document.objects.aget(pk=document.pk)).state == State.QUEUED
        with pytest.raises(LeaseLost):
            await in_database(renew, stale)
        await ingestion.ingest(fresh)
        await registry.aclose()

    asyncio.run(run())
    document.refresh_from_db()
    assert document.state == State.READY


def test_what_a_killed_process_of_this_machine_held_is_free_at_once(collection: Collection) -> None:
    document = services.add_file(collection=collection, name="cats.md", content=[CATS.encode()]).document
    assert ingestion.claim_one(document)
    ended = this_worker().split("/")
    Document.objects.update(owner="/".join([ended[0], "999999999", *ended[2:]]))
    assert ingestion.claim() is None
    assert leases.release_dead() == 1
    assert ingestion.claim() == document


def test_the_worker_takes_what_is_queued_and_gives_back_what_it_must_leave(collection: Collection, upstream: Upstream) -> None:
    first = services.add_file(collection=collection, name="cats.md", content=[CATS.encode()]).document

    async def until(document: Document, state: State) -> None:
        async with asyncio.timeout(30):
            while (await Document.objects.aget(pk=document.pk)).state != state:  # noqa: ASYNC110 - the database has no event to wait for
                await asyncio.sleep(0.02)

    async def run() -> None:
        async with worker.service():
            await until(first, State.READY)
            upstream.embeds = status(503)
            second = await asyncio.to_thread(
                lambda: services.add_file(collection=collection, name="engines.md", content=[ENGINES.encode()]).document
            )
            await until(second, State.EMBEDDING)
        await registry.aclose()
        second = await Document.objects.aget(pk=second.pk)
        assert (second.state, second.lease_until, second.tries) == (State.EMBEDDING, None, 0)

    asyncio.run(run())


def test_after_a_crash_vectors_of_deleted_passages_go_and_lost_ones_come_back(collection: Collection, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    ingest("engines.md", ENGINES)
    index = serving(collection)
    lost = min(engine().ids(index))
    engine().remove(index, [lost])
    Chunk.objects.filter(document__name="engines.md").delete()
    embed_index.reconcile()
    assert engine().ids(index) == set(Chunk.objects.values_list("pk", flat=True)) - {lost}
    build(index)
    assert lost in engine().ids(index)
    assert serving(collection) == index


def test_a_new_version_of_a_failed_file_leaves_nothing_of_it(collection: Collection, ingest: Ingest) -> None:
    failed = ingest("pets.md", bytes(range(256)) * 40)
    ingest("pets.md", CATS)
    assert not services.file_path(failed.pk).exists()
    assert Document.objects.count() == 1


def test_a_version_that_comes_again_while_its_successor_waits_is_the_newest(collection: Collection, ingest: Ingest) -> None:
    ingest("pets.md", CATS)
    queued = [services.add_file(collection=collection, name="pets.md", content=[text.encode()]) for text in (ENGINES, CATS)]
    assert [added.existed for added in queued] == [False, False]
    for added in queued:
        run_ingestion(added.document)
    assert Document.objects.get().text == CATS


def test_what_an_account_leaves_behind_goes_with_it(collection: Collection, ingest: Ingest, users: Users, tmp_path: Path) -> None:
    ingest("cats.md", CATS)
    index = serving(collection)
    users.owner.delete()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert engine().ids(index) == set()


def test_a_name_that_somebody_else_takes_meanwhile_is_refused_or_shared(users: Users) -> None:
    others = iter([Collection(owner=users.owner, name="Library")])

    def racing(execute: Any, *query: Any) -> Any:
        """Another process makes the collection just after this one has looked for it."""
        found = execute(*query)
        if other := next(others, None):
            other.save()
        return found

    with connection.execute_wrapper(racing):
        made = services.default_collection(owner=users.owner, name="Library")
    assert made == Collection.objects.get()
    assert services.default_collection(owner=users.owner, name=" Library  ") == made
    with pytest.raises(InputError, match="already"):
        services.create_collection(owner=users.owner, name="Library")


async def test_a_document_that_is_read_while_another_index_takes_over_is_in_that_one(
    collection: Collection, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = await in_database(services.change_model, collection=collection, model="up/other")

    async def slowly(path: Path, name: str) -> Parsed:
        index = await in_database(rebuild.claim)
        assert index == new
        await rebuild.build(index)
        return await parse(path, name)

    monkeypatch.setattr(ingestion, "parse", slowly)
    document = (await in_database(services.add_file, collection=collection, name="cats.md", content=[CATS.encode()])).document
    claimed = await in_database(ingestion.claim_one, document)
    assert claimed
    await ingestion.ingest(claimed)
    await registry.aclose()
    held = await in_database(lambda: engine().ids(serving(collection)))
    assert held == set(await in_database(lambda: list(Chunk.objects.values_list("pk", flat=True))))


@pytest.fixture
def two_models(upstream: Upstream) -> str:
    """The route `either`: the model `small`, else `other`."""
    backend = Backend.objects.get(name="up")
    return set_route(name="either", steps=[(backend, "small"), (backend, "other")]).name


def embeds_small(times: int) -> Reply:
    """`small` answers so many times; then it is `other` that does."""
    left = [times]

    async def reply(received: Received, wire: Wire) -> None:
        if received.body["model"] == "small" and not left[0]:
            return await status(500)(received, wire)
        left[0] -= received.body["model"] == "small"
        return await embeds()(received, wire)

    return reply


def test_of_two_models_that_fill_a_new_index_at_once_the_second_is_refused(
    collection: Collection, two_models: str, upstream: Upstream, ingest: Ingest
) -> None:
    Index.objects.update(model=two_models)
    late = serving(collection)
    upstream.embeds = embeds_small(2)  # once to learn the model and its prompts
    first = ingest("cats.md", CATS)
    upstream.embeds = status(400)
    second = ingest("engines.md", ENGINES)
    upstream.embeds = embeds_small(0)
    todo = list(second.chunks.values_list("pk", flat=True))

    async def progress(_done: int) -> None:
        return

    async def fill() -> None:
        try:
            await embed_index.fill(late, todo, user=collection.owner, progress=progress)
        finally:
            await registry.aclose()

    with pytest.raises(EmbeddingError, match="other answered, but the index has come to hold vectors of small"):
        asyncio.run(fill())
    assert engine().ids(serving(collection)) == set(first.chunks.values_list("pk", flat=True))


def test_a_database_that_is_away_for_a_moment_fails_no_document(collection: Collection, upstream: Upstream) -> None:
    """FAULTS 50: all resumes by itself."""
    document = services.add_file(collection=collection, name="cats.md", content=[CATS.encode()]).document

    def away(**_signal: Any) -> None:
        connection_created.disconnect(away)
        raise OperationalError("the server closed the connection")

    async def reply(received: Received, wire: Wire) -> None:
        connection_created.connect(away)
        await embeds()(received, wire)

    upstream.embeds = reply
    with pytest.raises(OperationalError):
        run_ingestion(document)
    document.refresh_from_db()
    assert (document.state, document.why) == (State.EMBEDDING, "")
    upstream.embeds = embeds()
    Document.objects.update(lease_until=None)
    assert run_ingestion(document).state == State.READY
