"""Inputs that are larger than one batch may be become several, linked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from batches.input import create, files
from batches.input.tables import Prompting
from batches.models import Batch, File
from tests.batches.conftest import line, lines
from tests.batches.views.test_monitor import upload
from tests.users import Users
from webapp.patterns.batch import input_file as jsonl
from webapp.patterns.errors import InputError

SMALL = replace(jsonl.LIMITS, lines=2)
PROMPTING = Prompting("/v1/chat/completions", "up/m", "Say {{ word }}")


@pytest.fixture
def two_rows_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two rows at most."""
    monkeypatch.setattr(create, "LIMITS", SMALL)
    monkeypatch.setattr(create, "MAX_ROWS", 2 * create.MAX_PARTS)
    for function in (jsonl.split, jsonl.lines_of, jsonl.validate):
        defaults: Any = function.__kwdefaults__ or {}
        monkeypatch.setitem(defaults, "limits", SMALL)


def contents() -> list[bytes]:
    batches = Batch.objects.select_related("input_file").order_by("name")
    return [batch.input_file.path.read_bytes() for batch in batches if batch.input_file]


def test_a_file_with_too_many_lines_becomes_linked_batches(
    as_owner: Client, two_rows_a_batch: None, django_capture_on_commit_callbacks: Callable[..., AbstractContextManager[object]]
) -> None:
    data = lines(5)
    page = as_owner.post("/batches/new/check/", {"file": upload(*data)}).content.decode()
    assert "split into 3 linked batches" in page
    draft = File.objects.get()
    with django_capture_on_commit_callbacks(execute=True):
        response = as_owner.post("/batches/new/", {"file_id": str(draft.pk), "name": "Big", "executor": "local"})
    assert contents() == [b"".join(data[:2]), b"".join(data[2:4]), data[4]]
    first = Batch.objects.get(name="Big (part 1 of 3)")
    assert response["Location"] == f"/batches/{first.pk}/"
    assert set(first.further_parts.values_list("name", flat=True)) == {"Big (part 2 of 3)", "Big (part 3 of 3)"}
    assert not draft.path.exists(), "the whole is in its parts"
    second = Batch.objects.get(name="Big (part 2 of 3)")
    shown = as_owner.get(f"/batches/{second.pk}/").content.decode()
    assert all(f"/batches/{batch.pk}/" in shown for batch in Batch.objects.all())


def test_a_file_at_the_limit_stays_one_batch(as_owner: Client, two_rows_a_batch: None) -> None:
    as_owner.post("/batches/new/", {"file": upload(*lines(2), b"\n"), "executor": "local"})
    assert Batch.objects.get().first_part is None


def test_what_is_wrong_besides_its_size_is_said_first(as_owner: Client, two_rows_a_batch: None) -> None:
    page = as_owner.post("/batches/new/check/", {"file": upload(*lines(2), b"{\n", line("x"))}).content.decode()
    assert "invalid_json_line" in page
    assert "linked batches" not in page


def test_a_table_with_too_many_rows_becomes_linked_batches(users: Users, two_rows_a_batch: None) -> None:
    rows = [{"word": f"w{number}"} for number in range(3)]
    first = create.from_rows(user=users.owner, rows=rows, name="t.csv", prompting=PROMPTING, options={"executor": "local"})
    assert first.name == "t.csv (part 1 of 2)"
    assert [part.count(b"\n") for part in contents()] == [2, 1]


@pytest.mark.parametrize("count", [2 * create.MAX_PARTS + 1, 0])
def test_a_table_that_makes_no_batches_leaves_no_files(users: Users, two_rows_a_batch: None, count: int) -> None:
    rows = ({"word": "w"} for _ in range(count))
    with pytest.raises(InputError, match=r"(?i)split it|no rows"):
        create.from_rows(user=users.owner, rows=rows, name="t.csv", prompting=PROMPTING, options={})
    assert not File.objects.exists()
    assert not Batch.objects.exists()


def test_a_row_that_cannot_be_filled_in_leaves_no_parts(users: Users, two_rows_a_batch: None) -> None:
    rows = [{"word": "a"}, {"word": "b"}, {"other": "c"}]
    with pytest.raises(InputError, match="template names"):
        create.from_rows(user=users.owner, rows=rows, name="t.csv", prompting=PROMPTING, options={})
    assert not File.objects.exists()


def test_lines_by_the_million_take_no_memory(tmp_path: Any) -> None:
    """FAULTS 41: an upload of nothing but tiny lines is counted, and not kept."""
    path = tmp_path / "tiny.jsonl"
    path.write_bytes(b"\n" * 30_000 + b"[]\n" * 10_000 + line("a") * 60_000)
    with path.open("rb") as file:
        found = jsonl.validate(file)
    assert (len(found.lines), found.requests, len(found.errors)) == (50_000, 60_000, 1000)
    assert not found.only_too_large


def test_the_api_refuses_what_the_page_splits(users: Users) -> None:
    """OpenAI's contract: one file, one batch."""
    file = files.store(user=users.owner, filename="x.jsonl", purpose="batch", data=lines(3))
    with file.path.open("rb") as source:
        found = jsonl.validate(source, limits=SMALL)
    assert found.only_too_large
    assert [error.code for error in found.errors] == ["too_many_tasks"]
