"""files and batches: routing, checks, uploads and idempotency, before a stand-in for who serves them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import openai
import pytest
from django.conf import settings

from tests.gateway.api import Api
from webapp.core.database import in_database
from webapp.gateway.models import IdempotentReply
from webapp.patterns.types import Json
from webapp.ports import files_and_batches
from webapp.ports.files_and_batches import Caller, Content, Page, Upload, listing, not_found

BATCH = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}


class Shelf:
    """Files and batches in memory, by owner."""

    def __init__(self) -> None:
        self.made: list[tuple[Json, int, bytes]] = []
        self.pages: list[Page] = []
        self.uploads: list[Upload] = []
        self.fields: list[Mapping[str, str]] = []
        self.pause = 0.0
        self.fail: Exception | None = None

    async def create(self, caller: Caller, upload: Any, *, purpose: str = "", fields: Mapping[str, str] | None = None) -> Json:
        await asyncio.sleep(self.pause)
        if self.fail:
            raise self.fail
        content = upload.path.read_bytes() if isinstance(upload, Upload) else b""
        kind = "file" if isinstance(upload, Upload) else "batch"
        body: Json = {"id": f"{kind}-{len(self.made)}", "object": kind, "purpose": purpose, "created_at": 1700000000}
        if isinstance(upload, Upload):
            self.uploads.append(upload)
            self.fields.append(fields or {})
            body |= {"filename": upload.filename, "bytes": upload.size, "status": "processed"}
        else:
            body |= {**upload, "status": "validating"}
        await in_database(caller.record, body)
        self.made.append((body, caller.user.pk, content))
        return body

    async def list(self, caller: Caller, page: Page) -> Json:
        self.pages.append(page)
        return listing([body for body, owner, _ in self.made if owner == caller.user.pk], has_more=False)

    async def retrieve(self, caller: Caller, name: str) -> Json:
        return self._find(caller, name)[0]

    async def content(self, caller: Caller, name: str) -> Content:
        async def chunks() -> AsyncIterator[bytes]:
            await asyncio.sleep(0.05)
            yield self._find(caller, name)[2]

        return Content(chunks(), filename="<résumé>.html", size=len(self._find(caller, name)[2]), content_type="text/html")

    async def delete(self, caller: Caller, name: str) -> Json:
        return {"id": self._find(caller, name)[0]["id"], "object": "file", "deleted": True}

    async def cancel(self, caller: Caller, name: str) -> Json:
        return {**self._find(caller, name)[0], "status": "cancelling"}

    def _find(self, caller: Caller, name: str) -> tuple[Json, int, bytes]:
        found = next((made for made in self.made if made[0]["id"] == name and made[1] == caller.user.pk), None)
        if found is None:
            raise not_found("file", name)
        return found


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any) -> Iterator[Shelf]:
    settings.MEDIA_ROOT = tmp_path
    shelf = Shelf()
    monkeypatch.setattr(files_and_batches._Registered, "files", shelf)
    monkeypatch.setattr(files_and_batches._Registered, "batches", shelf)
    yield shelf
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def form(content: bytes = b"{}\n", name: str = "in.jsonl", purpose: str | None = "batch") -> dict[str, Any]:
    return {"files": {"file": (name, content)}, "data": {"purpose": purpose} if purpose else {}}


async def test_the_sdk_stores_lists_reads_and_deletes_files(api: Api, shelf: Shelf) -> None:
    files = api.sdk().files
    made = await files.create(file=("in.jsonl", b"line\n"), purpose="batch")
    assert (made.bytes, made.filename, made.purpose) == (5, "in.jsonl", "batch")
    assert [file.id async for file in files.list(purpose="batch", limit=5)] == [made.id]
    assert (shelf.pages[0].limit, dict(shelf.pages[0].filters)) == (5, {"purpose": "batch"})
    assert (await files.retrieve(made.id)).id == made.id
    assert (await files.content(made.id)).content == b"line\n"
    assert (await files.delete(made.id)).deleted


async def test_the_sdk_makes_lists_reads_and_cancels_batches(api: Api, shelf: Shelf) -> None:
    batches = api.sdk().batches
    made = await batches.create(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"})
    assert made.status == "validating"
    assert (await batches.retrieve(made.id)).metadata == {"a": "b"}
    assert [batch.id async for batch in batches.list(limit=2)] == [made.id]
    assert (await batches.cancel(made.id)).status == "cancelling"


async def test_a_large_upload_arrives_whole_and_never_whole_in_memory(api: Api, shelf: Shelf) -> None:
    content = bytes(range(256)) * 4096 * 20
    response = await api.post("files", **form(content))
    assert response.status_code == 200
    assert hashlib.sha256(shelf.made[0][2]).digest() == hashlib.sha256(content).digest()
    assert shelf.uploads[0].path.is_relative_to(settings.MEDIA_ROOT)


@pytest.mark.parametrize("name", ["../../x", "a\x00b", "x" * 300, "<script>.jsonl", "C:\\evil\\x.jsonl", "é☃.jsonl"])
async def test_a_file_name_never_becomes_a_path(api: Api, shelf: Shelf, name: str) -> None:
    """FAULTS 19."""
    response = await api.post("files", **form(name=name))
    assert response.status_code == 200
    assert shelf.uploads[0].path.name == "file"
    assert "/" not in shelf.uploads[0].filename
    assert len(shelf.uploads[0].filename) <= 255


@pytest.mark.parametrize(
    ("request_options", "param"),
    [
        (form(purpose=None), "purpose"),
        (form(purpose="world domination"), "purpose"),
        ({"data": {"purpose": "batch"}, "files": {"other": ("a", b"a")}}, "file"),
        ({"content": b"{}", "headers": {"content-type": "application/json"}}, None),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, None),
        ({"content": b"x", "headers": {"content-type": b"multipart/form-data; boundary=\xe9"}}, None),
        ({"content": b"--b\r\nbroken", "headers": {"content-type": "multipart/form-data; boundary=b"}}, "file"),
    ],
)
async def test_a_wrong_form_is_a_400(api: Api, shelf: Shelf, request_options: Any, param: str | None) -> None:
    response = await api.post("files", **request_options)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert shelf.made == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("limit=101", "limit"),
        ("limit=²", "limit"),
        ("limit=-1", "limit"),
        ("order=up", "order"),
    ],
)
async def test_a_wrong_query_is_a_400(api: Api, shelf: Shelf, query: str, param: str) -> None:
    response = await api.http.get(f"batches?{query}")
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("missing", ["input_file_id", "endpoint", "completion_window"])
async def test_a_batch_that_lacks_a_field_is_a_400(api: Api, shelf: Shelf, missing: str) -> None:
    response = await api.post("batches", {name: value for name, value in BATCH.items() if name != missing})
    assert (response.status_code, response.json()["error"]["param"]) == (400, missing)


async def test_what_is_somebody_elses_is_a_404(api: Api, shelf: Shelf) -> None:
    """FAULTS 7."""
    made = (await api.post("files", **form())).json()["id"]
    await api.use_token(api.users.other)
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert (await api.http.request(method, f"files/{made}{path}")).status_code == 404
    with pytest.raises(openai.NotFoundError):
        await api.sdk().files.retrieve("file-%2e%2e")


async def test_a_download_is_an_attachment_that_no_browser_runs(api: Api, shelf: Shelf) -> None:
    """FAULTS 21."""
    made = (await api.post("files", **form(b"<script>"))).json()["id"]
    response = await api.http.get(f"files/{made}/content")
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''%3Cr%C3%A9sum%C3%A9%3E.html"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert (await api.http.head(f"files/{made}/content")).content == b""


async def test_nobody_serves_it_is_a_501(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_and_batches._Registered, "files", None)
    monkeypatch.setattr(files_and_batches._Registered, "batches", None)
    for path in ("files", "batches", "files/file-1", "batches/batch_1"):
        response = await api.http.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == (501, "not_implemented")


# --- Idempotency-Key


async def test_a_post_that_is_sent_again_is_done_once(api: Api, shelf: Shelf) -> None:
    headers = {"Idempotency-Key": "k1"}
    first, again = await api.post("batches", BATCH, headers=headers), await api.post("batches", BATCH, headers=headers)
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    upload = [await api.post("files", **form(), headers=headers) for _ in range(2)]  # the same contents within another boundary
    assert upload[0].json() == upload[1].json()
    assert len(shelf.made) == 2


async def test_a_key_for_another_request_is_a_409(api: Api, shelf: Shelf) -> None:
    headers = {"Idempotency-Key": "k1"}
    await api.post("batches", BATCH, headers=headers)
    response = await api.post("batches", {**BATCH, "metadata": {"a": "b"}}, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (409, "idempotency_key_reused")


async def test_a_key_is_the_users_own(api: Api, shelf: Shelf) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await api.post("batches", BATCH, headers=headers)
    await api.use_token(api.users.other)
    assert (await api.post("batches", BATCH, headers=headers)).json() != first.json()


async def test_two_at_once_with_one_key_do_it_once(api: Api, shelf: Shelf) -> None:
    shelf.pause = 0.3
    headers = {"Idempotency-Key": "k1"}
    answers = await asyncio.gather(*(api.post("batches", BATCH, headers=headers) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert len(shelf.made) == 1


async def test_a_failure_frees_the_key(api: Api, shelf: Shelf) -> None:
    headers = {"Idempotency-Key": "k1"}
    shelf.fail = not_found("file", "file-1")
    assert (await api.post("batches", BATCH, headers=headers)).status_code == 404
    shelf.fail = None
    assert (await api.post("batches", BATCH, headers=headers)).status_code == 200


async def test_a_key_that_is_too_long_is_a_400(api: Api, shelf: Shelf) -> None:
    assert (await api.post("batches", BATCH, headers={"Idempotency-Key": "k" * 256})).status_code == 400
    assert not await IdempotentReply.objects.aexists()
