"""The engines behind one interface. tests/search/test_postgres.py runs this file again on PostgreSQL with pgvector."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from django.db import connection

from search import services
from search.index import Engine, embedded, engine
from search.index.base import terms
from search.models import Chunk, Collection, Document, Index, scope
from tests.search.conftest import embedded_only
from tests.users import Users
from webapp.patterns.embeddings.similarity import Matrix
from webapp.patterns.errors import EmbeddingError

DIMENSION = 16


@pytest.fixture
def users(db: None) -> Users:
    from tests.users import make_users

    return make_users()


@pytest.fixture
def its() -> Engine:
    return engine()


@pytest.fixture
def index(users: Users) -> Index:
    collection = services.create_collection(owner=users.owner, name="Library")
    assert collection.serving
    return collection.serving


def passages(collection: Collection, texts: list[str]) -> list[int]:
    document = Document.objects.create(collection=collection, name="d", state="ready")
    fields = {"document": document, "collection": collection, "scope": scope(collection.pk), "start": 0, "end": 1, "tokens": 1}
    return [Chunk.objects.create(text=text, heading=f"Heading {number}", **fields).pk for number, text in enumerate(texts)]


def vectors(count: int, seed: int = 1) -> Matrix:
    matrix = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix


def test_the_nearest_come_first_with_their_cosines(its: Engine, index: Index) -> None:
    matrix = vectors(200)
    its.add(index, range(1, 101), matrix[:100])
    its.add(index, range(101, 201), matrix[100:])
    query = vectors(1, seed=7)[0]
    hits = its.nearest(index, query, 5)
    best = np.argsort(-(matrix @ query))[:5]
    assert [hit.chunk_id for hit in hits] == [int(row) + 1 for row in best]
    assert [hit.score for hit in hits] == pytest.approx((matrix @ query)[best].tolist(), abs=1e-5)


def test_a_ranking_stays_within_the_passages_asked_for(its: Engine, index: Index) -> None:
    its.add(index, range(1, 101), vectors(100))
    hits = its.nearest(index, vectors(1, seed=7)[0], 10, within=[3, 50, 99, 1000])
    assert {hit.chunk_id for hit in hits} == {3, 50, 99}
    assert its.nearest(index, vectors(1)[0], 10, within=[]) == []


def test_removed_passages_are_gone_and_others_stay(its: Engine, index: Index) -> None:
    its.add(index, range(1, 21), vectors(20))
    its.remove(index, [5, 6, 999])
    assert its.ids(index) == set(range(1, 21)) - {5, 6}
    assert {5, 6}.isdisjoint(hit.chunk_id for hit in its.nearest(index, vectors(20)[4], 20))
    assert set(its.vectors(index, [4, 5, 7])) == {4, 7}


def test_vectors_come_back_as_they_were_given(its: Engine, index: Index) -> None:
    matrix = vectors(3)
    its.add(index, [11, 12, 13], matrix)
    assert np.allclose(its.vectors(index, [13])[13], matrix[2], atol=1e-6)


def test_another_dimension_is_refused_and_changes_nothing(its: Engine, index: Index) -> None:
    """FAULTS 46."""
    its.add(index, [1, 2], vectors(2))
    with pytest.raises(EmbeddingError, match="8 dimensions"):
        its.add(index, [3], np.ones((1, 8), np.float32))
    with pytest.raises(EmbeddingError, match="dimensions"):
        its.nearest(index, np.ones(8, np.float32), 3)
    index.refresh_from_db()
    assert its.ids(index) == {1, 2}


def test_an_empty_index_finds_nothing(its: Engine, index: Index) -> None:
    assert its.nearest(index, vectors(1)[0], 3) == []
    assert its.ids(index) == set()
    its.remove(index, [1])


def test_a_dropped_index_is_empty_and_others_stay(its: Engine, index: Index) -> None:
    other = Index.objects.create(collection=index.collection, model="other")
    its.add(index, [1], vectors(1))
    its.add(other, [1], vectors(1))
    its.drop(other)
    assert its.ids(index) == {1}


def found(its: Engine, index: Index, query: str, within: list[int] | None = None) -> list[int]:
    return [hit.chunk_id for hit in its.matching(terms(query), 10, scopes=[scope(index.collection_id)], within=within)]


def test_words_are_found_in_text_and_heading_whatever_their_ending(its: Engine, index: Index) -> None:
    ids = passages(index.collection, ["The engines burn diesel.", "A cat sleeps.", "Cats and engine oil."])
    assert found(its, index, "engine") == [ids[2], ids[0]] or set(found(its, index, "engine")) == {ids[0], ids[2]}
    assert found(its, index, "sleeping") == [ids[1]]
    assert set(found(its, index, "heading ")) == set(ids)
    assert found(its, index, "absent") == []


def test_the_last_word_may_be_unfinished(its: Engine, index: Index) -> None:
    ids = passages(index.collection, ["The engines burn diesel.", "A cat sleeps."])
    assert found(its, index, "dies") == [ids[0]]
    assert found(its, index, "dies ") == []


TEXTS = [
    "在庫管理の説明です。返品の手順は第三章を参照。",
    "반품은 가능합니다. 문서를 검색을 통해 찾습니다.",
    "การชำระเงินภายในสามสิบวันหลังจากได้รับใบแจ้งหนี้",
    "Die Kündigungsfristen sind in der Anlage und nicht an der Hauptstraße.",
    "يتم الدفع خلال ثلاثين يوما من استلام الفاتورة.",
    "התשלום יבוצע בתוך שלושים יום, והחשבונית תישלח לבית.",
    "भुगतान तीस दिनों के भीतर किया जाना चाहिए।",
]
QUERIES = [
    ("返品", 0), ("在庫管理", 0), ("返", 0), ("검색", 1), ("ใบแจ้งหนี้", 2), ("Frist", 3), ("Kündigung", 3), ("strasse", 3),
    ("KÜNDIGUNGSFRIST", 3), ("فاتورة", 4), ("חשבונית", 5), ("भुगतान", 6),
]  # fmt: skip


@pytest.mark.parametrize(("query", "place"), QUERIES)
def test_words_are_found_in_every_script(its: Engine, index: Index, query: str, place: int) -> None:
    ids = passages(index.collection, TEXTS)
    assert found(its, index, query) == [ids[place]]


def test_a_passage_with_the_identifier_comes_before_one_with_its_parts(its: Engine, index: Index) -> None:
    noise = ["4711 is a perfume, 4711 smells.", "A proj is short for project. proj, proj!", "proj is not 4711."]
    ids = passages(index.collection, [*noise, "See ticket PROJ-4711 in the long list of tickets that the team keeps for the project."])
    for query in ("PROJ-4711", "proj-4711 ", "ticket PROJ-4711 please"):
        assert found(its, index, query)[0] == ids[3]
    ids = passages(index.collection, ["max size config", "Set config.max_size to 3."])
    assert found(its, index, "config.max_size")[0] == ids[1]


def test_a_quoted_phrase_comes_before_its_words(its: Engine, index: Index) -> None:
    ids = passages(index.collection, ["cats big cats", "cats and big dogs, big dogs and cats", "cat big"])
    assert found(its, index, '"big cats"')[0] == ids[0]


def test_a_passage_with_more_of_the_words_comes_first(its: Engine, index: Index) -> None:
    ids = passages(index.collection, ["diesel here", "diesel fuel pump", "pump it up"])
    assert found(its, index, "diesel fuel pump ")[0] == ids[1]


def test_words_are_found_in_the_scopes_and_passages_asked_for_alone(its: Engine, index: Index, users: Users) -> None:
    ids = passages(index.collection, ["diesel one", "diesel two"])
    other = services.create_collection(owner=users.other, name="Other")
    passages(other, ["diesel three"])
    assert set(found(its, index, "diesel")) == set(ids)
    assert found(its, index, "diesel", within=[ids[1]]) == [ids[1]]
    assert found(its, index, "diesel", within=[]) == []
    assert its.matching(terms("diesel"), 10, scopes=[]) == []


def test_deleted_and_changed_passages_leave_the_full_text(its: Engine, index: Index) -> None:
    first, second = passages(index.collection, ["diesel one", "diesel two"])
    Chunk.objects.filter(pk=first).delete()
    changed = Chunk.objects.get(pk=second)
    changed.text = "petrol"
    changed.save()
    assert found(its, index, "diesel") == []
    assert found(its, index, "petrol") == [second]


@embedded_only
def test_rows_that_were_never_counted_are_overwritten(its: Engine, index: Index) -> None:
    """A crash between the write and the commit."""
    its.add(index, [1, 2], vectors(2))
    Index.objects.filter(pk=index.pk).update(rows=1)
    index.refresh_from_db()
    assert its.ids(index) == {1}
    its.add(index, [9], vectors(1, seed=3))
    assert its.ids(index) == {1, 9}
    assert its.nearest(index, vectors(1, seed=3)[0], 1)[0].chunk_id == 9


@embedded_only
@pytest.mark.parametrize("left", [None, 0, 33, 100], ids=["gone", "empty", "torn in a number", "cut"])
@pytest.mark.parametrize("suffix", [".ids", ".f32"])
def test_lost_files_are_noticed_by_whoever_reads_and_make_an_empty_index(
    its: Engine, index: Index, tmp_path: Path, left: int | None, suffix: str
) -> None:
    """Also by the process that has them mapped: reading behind the end of a cut file would end it."""
    its.add(index, range(1, 21), vectors(20))
    assert its.nearest(index, vectors(20)[4], 1)[0].chunk_id == 5
    file = next((tmp_path / "vectors").glob(f"*{suffix}"))
    file.unlink() if left is None else os.truncate(file, left)
    assert its.nearest(index, vectors(20)[4], 1) == []
    assert (index.rows, index.state) == (0, Index.State.BUILDING)
    assert its.ids(index) == set()
    its.add(index, [3], vectors(1))
    assert its.ids(index) == {3}


@embedded_only
def test_an_index_beside_the_one_that_serves_waits_to_be_built_when_it_is_lost(its: Engine, index: Index, tmp_path: Path) -> None:
    other = Index.objects.create(collection=index.collection, model="other", state=Index.State.READY)
    its.add(other, [1], vectors(1))
    for file in (tmp_path / "vectors").iterdir():
        file.unlink()
    assert its.vectors(other, [1]) == {}
    assert (other.state, other.why) == (Index.State.FAILED, "Its vectors were lost")


@embedded_only
def test_files_that_were_written_anew_are_found_by_a_reader_who_is_late(its: Engine, index: Index, tmp_path: Path) -> None:
    its.add(index, [1], vectors(1))
    late = Index.objects.get(pk=index.pk)
    Index.objects.filter(pk=index.pk).update(generation=1, rows=0)
    its.add(Index.objects.get(pk=index.pk), [1, 2], vectors(2))
    for file in (tmp_path / "vectors").glob(f"{index.pk}-0.*"):
        file.unlink()
    assert its.ids(late) == {1, 2}
    assert late.state == Index.State.READY


@embedded_only
def test_another_process_sees_what_was_added_and_removed(its: Engine, index: Index) -> None:
    reader = type(its)()
    its.add(index, [1, 2], vectors(2))
    assert reader.ids(index) == {1, 2}
    its.remove(index, [1])
    its.add(index, range(10, 9000), vectors(8990))
    fresh = Index.objects.get(pk=index.pk)
    assert len(reader.ids(fresh)) == 8991
    assert 1 not in reader.ids(fresh)


@embedded_only
def test_many_deletions_shrink_the_files(its: Engine, index: Index, tmp_path: Path, django_capture_on_commit_callbacks: object) -> None:
    its.add(index, range(1, 3001), vectors(3000))
    keep = vectors(3000)[2999]
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]  # pytest-django's fixture has no public type
        its.remove(index, range(1, 2501))
    index.refresh_from_db()
    assert (index.rows, index.dead) == (500, 0)
    assert its.ids(index) == set(range(2501, 3001))
    assert its.nearest(index, keep, 1)[0].chunk_id == 3000
    assert len(list((tmp_path / "vectors").iterdir())) == 2


@embedded_only
def test_a_removed_vector_leaves_no_trace_in_the_file(its: Engine, index: Index, tmp_path: Path) -> None:
    matrix = vectors(1)
    its.add(index, [1], matrix)
    file = next((tmp_path / "vectors").glob("*.f32"))
    assert matrix.tobytes() in file.read_bytes()
    its.remove(index, [1])
    assert matrix.tobytes() not in file.read_bytes()


@embedded_only
def test_signs_find_what_the_exact_search_finds(its: Engine, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past SIGNS_FROM rows, with a tail that the signs do not know yet."""
    from search.index import vector_files

    monkeypatch.setattr(vector_files, "SIGNS_FROM", 1000)
    monkeypatch.setattr(vector_files, "SIGN_SHARE", 5)
    matrix = vectors(3000)
    its.add(index, range(1, 2501), matrix[:2500])
    its.nearest(index, matrix[0], 1)
    its.add(index, range(2501, 3001), matrix[2500:])
    for row in (3, 2499, 2700):
        hits = its.nearest(index, matrix[row], 10)
        assert hits[0].chunk_id == row + 1
        exact = set(np.argsort(-(matrix @ matrix[row]))[:10] + 1)
        assert len(exact & {hit.chunk_id for hit in hits}) >= 7
    assert connection.vendor == "sqlite"


@embedded_only
def test_many_indexes_do_not_use_up_the_files_that_a_process_may_open(
    its: Engine, users: Users, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "MAX_OPEN", 3)
    indexes = [services.create_collection(owner=users.owner, name=f"Chat {number}").serving for number in range(8)]
    matrix = vectors(8)
    for index, vector in zip(indexes, matrix, strict=True):
        assert index
        its.add(index, [index.pk], vector[np.newaxis])
        assert its.count(index) == 1
    for index, vector in zip(indexes, matrix, strict=True):
        assert index
        assert [hit.chunk_id for hit in its.nearest(index, vector, 1)] == [index.pk]
    opened = [link for fd in Path("/proc/self/fd").iterdir() if (link := fd.resolve()).is_relative_to(tmp_path / "vectors")]
    assert len(opened) <= 2 * 3
