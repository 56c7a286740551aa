"""The pages of batches, without a browser."""

from __future__ import annotations

import html
import io
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import AsyncClient, Client
from django.utils import timezone

from batches.execution import completion, results
from batches.execution.results import RowResult
from batches.input import files
from batches.models import Batch, BatchChunk, BatchRow, File
from tests.batches.conftest import CHAT, in_thread, line, lines, make_batch
from tests.users import Users, make_users
from webapp.backends import services as backends
from webapp.backends.models import Backend
from webapp.patterns.types import Usage


def upload(*data: bytes, name: str = "in.jsonl") -> io.BytesIO:
    file = io.BytesIO(b"".join(data))
    file.name = name
    return file


def finished(users: Users, count: int = 3) -> Batch:
    """A batch whose rows are all done, without a runner."""
    batch = make_batch(users.owner, lines(count))
    Batch.objects.filter(pk=batch.pk).update(status="in_progress", total=count, model="up/m", endpoint="/v1/chat/completions")
    offset = 0
    for number, raw in enumerate(lines(count), 1):
        BatchRow.objects.create(batch=batch, number=number, custom_id=f"row-{number}", offset=offset, length=len(raw) - 1)
        offset += len(raw)
    chunk = BatchChunk.objects.create(batch=batch, first=1, last=count)
    body = '{"choices":[{"message":{"content":"=1+1 <b>bold</b>"}}]}'
    done = [RowResult(number=n, state=1, status_code=200, response=body, duration_ms=5, usage=Usage(7, 3)) for n in range(1, count)]
    failed = RowResult(number=count, state=2, status_code=400, error_code="bad_thing", error_message="<script>no</script>")
    results.commit(work=chunk, results=[*done, failed], finished=True)
    batch.refresh_from_db()
    completion.finish(batch=batch, status=Batch.Status.COMPLETED)
    batch.refresh_from_db()
    return batch


def test_an_uploaded_file_becomes_a_batch(as_owner: Client) -> None:
    response = as_owner.post("/batches/new/", {"file": upload(line("a")), "executor": "local"})
    batch = Batch.objects.get()
    assert (response.status_code, response["Location"]) == (302, f"/batches/{batch.pk}/")
    assert (batch.status, batch.executor, batch.concurrency) == ("validating", "local", 32)
    assert batch.input_file is not None
    assert batch.input_file.path.read_bytes() == line("a")


def test_a_file_that_was_checked_becomes_a_batch_without_being_uploaded_again(as_owner: Client) -> None:
    page = as_owner.post("/batches/new/check/", {"file": upload(line("a"), b"{\n", line("a"))}).content.decode()
    assert "3 problems in" in page  # the third: nobody offers the model
    assert "invalid_json_line" in page
    assert "duplicate_custom_id" in page
    file = File.objects.get()
    assert file.expires_at is not None  # a draft goes by itself
    response = as_owner.post("/batches/new/", {"file_id": str(file.pk)})
    assert response.status_code == 302
    file.refresh_from_db()
    assert file.expires_at is None


def test_another_users_checked_file_cannot_be_used(as_owner: Client, users: Users) -> None:
    """FAULTS 7: another user's file, attached to one's own batch."""
    file = make_batch(users.other, [line("a")]).input_file
    assert file is not None
    response = as_owner.post("/batches/new/", {"file_id": str(file.pk)})
    assert response.status_code == 400
    assert b"Choose it again" in response.content


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *[("get", path) for path in ("", "status/", "rows/", "rows/1/", "output.jsonl", "errors.jsonl", "joined.csv")],
        *[("post", path) for path in ("cancel/", "resume/", "retry-failed/", "clone/", "delete/")],
    ],
)
def test_another_users_batch_is_not_there(as_other: Client, users: Users, method: str, path: str) -> None:
    """FAULTS 7: 404, page and action alike."""
    batch = finished(users)
    assert getattr(as_other, method)(f"/batches/{batch.pk}/{path}").status_code == 404
    assert Batch.objects.filter(pk=batch.pk, status="completed").exists()


def test_the_list_shows_the_users_batches_only_and_polls_while_one_runs(as_owner: Client, as_other: Client, users: Users) -> None:
    batch = make_batch(users.owner, [line("a")], name="Mine <b>")
    page = as_owner.get("/batches/").content.decode()
    assert 'data-status="validating"' in page
    assert "every 2s" in page
    assert "Mine &lt;b&gt;" in page
    assert str(batch.pk) not in as_other.get("/batches/").content.decode()
    Batch.objects.update(status="completed")
    assert "every 2s" not in as_owner.get("/batches/").content.decode()


@pytest.mark.parametrize(("query", "found"), [("q=mine", 1), ("q=nothing", 0), ("status=active", 1), ("status=failed", 0), ("page=99", 1)])
def test_the_list_is_searched_and_filtered(as_owner: Client, users: Users, query: str, found: int) -> None:
    make_batch(users.owner, [line("a")], name="Mine")
    page = as_owner.get(f"/batches/?{query}", headers={"HX-Request": "true"}).content.decode()
    assert page.count('data-testid="batch-row"') == found
    assert "<html" not in page


def test_the_page_of_a_batch_shows_progress_failures_and_cost_and_escapes_all(as_owner: Client, users: Users) -> None:
    """FAULTS 5: payloads in errors are shown as text."""
    batch = finished(users)
    page = as_owner.get(f"/batches/{batch.pk}/").content.decode()
    assert 'data-done="3"' in page
    assert "bad_thing" in page
    assert "every 1s" not in page
    row = as_owner.get(f"/batches/{batch.pk}/rows/3/").content.decode()
    assert "&lt;script&gt;no&lt;/script&gt;" in row
    assert "question 3" in row
    assert "curl" in row
    assert "&lt;b&gt;bold&lt;/b&gt;" in as_owner.get(f"/batches/{batch.pk}/rows/1/").content.decode()


@pytest.mark.parametrize(("which", "name", "states"), [("output_file", "output.jsonl", [1]), ("error_file", "errors.jsonl", [2])])
def test_deleting_a_generated_file_deletes_what_it_holds(as_owner: Client, users: Users, which: str, name: str, states: list[int]) -> None:
    """Its bytes are the rows' answers: gone from them, too, and nothing is offered any more."""
    batch = finished(users)
    assert as_owner.get(f"/batches/{batch.pk}/{name}").status_code == 200
    files.delete(file=getattr(batch, which))
    assert as_owner.get(f"/batches/{batch.pk}/{name}").status_code == 404
    assert name not in as_owner.get(f"/batches/{batch.pk}/").content.decode()
    for row in batch.rows.all():
        assert bool(row.response or row.error_message) != (row.state in states)
        assert as_owner.get(f"/batches/{batch.pk}/rows/{row.number}/").status_code == 200
    assert as_owner.get(f"/batches/{batch.pk}/joined.csv").status_code == 200


def test_outputs_expire_when_asked(as_owner: Client, users: Users) -> None:
    batch = finished(users)
    assert batch.output_file is not None
    File.objects.filter(pk=batch.output_file.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert files.delete_expired() == 1
    assert not batch.rows.exclude(response="").exists()


def test_a_batch_without_a_name_whose_input_was_deleted_has_its_pages(as_owner: Client, users: Users) -> None:
    batch = finished(users)
    assert batch.input_file is not None
    assert "in.jsonl" in as_owner.get("/batches/").content.decode()
    batch.input_file.delete()
    for path in ("", f"{batch.pk}/", f"{batch.pk}/status/", f"{batch.pk}/rows/1/", f"{batch.pk}/joined.csv"):
        assert as_owner.get(f"/batches/{path}").status_code == 200, path
    assert batch.api_id in as_owner.get("/batches/").content.decode()


@pytest.mark.parametrize(
    ("query", "rows"),
    [("", 3), ("state=ok", 2), ("state=failed", 1), ("state=pending", 0), ("q=row-2", 1), ("q=bad_", 1), ("after=2", 1), ("after=x", 3)],
)
def test_rows_are_filtered_and_searched(as_owner: Client, users: Users, query: str, rows: int) -> None:
    batch = finished(users)
    assert as_owner.get(f"/batches/{batch.pk}/rows/?{query}").content.decode().count('class="row-detail"') == rows


@pytest.mark.django_db(transaction=True)
async def test_downloads_are_streamed_as_attachments() -> None:
    """FAULTS 21: attachments that no browser sniffs."""
    users = await in_thread(make_users)()
    batch = await in_thread(finished)(users)
    client = AsyncClient()
    await client.aforce_login(users.owner)
    for name, count in (("output.jsonl", 2), ("errors.jsonl", 1), ("joined.csv", 4)):
        response: Any = await client.get(f"/batches/{batch.pk}/{name}")
        assert response["Content-Disposition"].startswith("attachment")
        assert response["X-Content-Type-Options"] == "nosniff"
        raw = b"".join([piece async for piece in response])
        assert len(raw.splitlines()) == count
    assert b"row-1,Succeeded,question 1,'=1+1 <b>bold</b>," in raw  # no formula for a spreadsheet to run


def test_deleting_removes_rows_files_and_bytes(as_owner: Client, users: Users, django_capture_on_commit_callbacks: Any) -> None:
    batch = finished(users)
    assert batch.input_file is not None
    path = batch.input_file.path
    assert path.exists()
    with django_capture_on_commit_callbacks(execute=True):
        as_owner.post(f"/batches/{batch.pk}/delete/")
    assert not Batch.objects.exists()
    assert not BatchRow.objects.exists()
    assert not File.objects.exists()
    assert not path.exists()


def test_a_running_batch_cannot_be_deleted_or_retried(as_owner: Client, users: Users) -> None:
    batch = make_batch(users.owner, [line("a")])
    for action in ("delete", "retry-failed"):
        assert as_owner.post(f"/batches/{batch.pk}/{action}/", follow=True).status_code == 200
    assert Batch.objects.count() == 1


def test_a_clone_runs_over_the_same_input(as_owner: Client, users: Users) -> None:
    batch = finished(users)
    as_owner.post(f"/batches/{batch.pk}/clone/")
    clone = Batch.objects.exclude(pk=batch.pk).get()
    assert (clone.input_file, clone.status) == (batch.input_file, "validating")
    as_owner.post(f"/batches/{batch.pk}/delete/")
    assert clone.input_file is not None
    assert clone.input_file.path.exists()  # the clone still needs it


def test_a_batch_that_is_not_there_is_not_there(as_owner: Client) -> None:
    assert as_owner.get(f"/batches/{uuid.uuid4()}/").status_code == 404
    assert as_owner.get("/batches/not-an-id/").status_code == 404


def test_strangers_are_sent_to_sign_in(client: Client, users: Users) -> None:
    for path in ("/batches/", "/batches/new/", f"/batches/{uuid.uuid4()}/"):
        response = client.get(path)
        assert (response.status_code, response["Location"].startswith("/accounts/login/")) == (302, True)


@pytest.mark.django_db(transaction=True)
def test_a_table_is_counted_and_priced_before_anything_is_sent(as_owner: Client, users: Users) -> None:
    backend = backends.add_backend(name="up", base_url="http://127.0.0.1:9/v1")
    backends.add_model(backend=backend, name="m")
    Backend.objects.update(input_price=10, output_price=20, capabilities={"batches": True})
    table = "name\n" + "".join(f"Ada {number}\n" for number in range(400))
    posted = {"file": upload(table.encode(), name="t.csv"), "model": "up/m", "endpoint": CHAT, "template": "Who is {{ name }}?"}
    page = as_owner.post("/batches/new/preview/?source=table", {**posted, "max_tokens": "50"}).content.decode()
    assert "Who is Ada 0?" in page
    assert "400 to /v1/chat/completions" in page
    assert "20\u2009000 (the limits set in the rows)" in html.unescape(page)
    assert "at the backend's Batch API" in html.unescape(page)
    page = as_owner.post("/batches/new/preview/?source=table", {**posted, "file": upload(b"other\nx\n", name="t.csv")}).content.decode()
    assert "The template names" in page
    assert not Batch.objects.exists()
