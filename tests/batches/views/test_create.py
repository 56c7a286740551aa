"""The page of a new batch: what is previewed, what is kept after an error, and trying one row."""

from __future__ import annotations

import html
import io
from collections.abc import Callable

import pytest
from django.test import Client

from batches.models import Batch, File
from tests.batches.conftest import CHAT
from tests.upstream import Upstream, says
from tests.users import Users
from webapp.backends import services as backends
from webapp.backends.models import Attempt

SCHEMA = '{"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}'
TABLE = b"name\nAda\nGrace\n"


def table(data: bytes = TABLE, name: str = "people.csv") -> io.BytesIO:
    file = io.BytesIO(data)
    file.name = name
    return file


def posted(**fields: object) -> dict[str, object]:
    return {"model": "up/m", "endpoint": CHAT, "template": "Who is {{ name }}?", **fields}


@pytest.fixture
def server(make_upstream: Callable[..., Upstream], transactional_db: None) -> Upstream:
    """An upstream as the backend `up`."""
    upstream = make_upstream()
    backend = backends.add_backend(name="up", base_url=upstream.base_url)
    backends.add_model(backend=backend, name="m")
    return upstream


def test_the_preview_shows_the_schema_that_is_sent(as_owner: Client, server: Upstream) -> None:
    page = as_owner.post("/batches/new/preview/?source=table", posted(file=table(), schema=SCHEMA)).content.decode()
    assert '"response_format": {' in html.unescape(page)
    assert '"age"' in html.unescape(page)


def test_the_preview_says_where_a_schema_is_broken(as_owner: Client, server: Upstream) -> None:
    page = as_owner.post("/batches/new/preview/?source=table", posted(file=table(), schema='{"type": "object"')).content.decode()
    assert "JSON schema of each answer: This is not JSON. Line 1, column 18" in page
    empty = as_owner.post("/batches/new/preview/?source=table", posted(template="")).content.decode()
    assert "preview-problem" not in empty, "empty fields are no error"


def test_the_chosen_table_is_kept_when_another_field_is_wrong(as_owner: Client, server: Upstream) -> None:
    refused = as_owner.post("/batches/new/?source=table", posted(file=table(), schema="{"))
    assert refused.status_code == 400
    kept = File.objects.get()
    assert f'name="file_id" value="{kept.pk}"' in refused.content.decode()
    assert "people.csv" in refused.content.decode()
    assert kept.expires_at is not None
    created = as_owner.post("/batches/new/?source=table", posted(file_id=str(kept.pk)))
    assert created.status_code == 302
    batch = Batch.objects.get()
    assert batch.input_file is not None
    assert b"Who is Grace?" in batch.input_file.path.read_bytes()
    assert not File.objects.filter(pk=kept.pk).exists(), "the table itself is not needed any more"


def test_an_error_in_the_table_names_its_line_and_keeps_the_file(as_owner: Client, server: Upstream) -> None:
    refused = as_owner.post("/batches/new/?source=table", posted(file=table(b"name,city\nAda,London\nGrace\n"))).content.decode()
    assert "Line 3 has 1 cells, and the header has 2." in refused
    assert 'name="file_id"' in refused


def test_another_users_kept_file_cannot_be_used(as_owner: Client, as_other: Client, users: Users, server: Upstream) -> None:
    as_owner.post("/batches/new/?source=table", posted(file=table(), schema="{"))
    stolen = as_other.post("/batches/new/?source=table", posted(file_id=str(File.objects.get().pk)))
    assert stolen.status_code == 400
    assert "no longer available" in stolen.content.decode()


def test_one_row_is_tried(as_owner: Client, server: Upstream) -> None:
    server.script(says("A computer scientist."))
    page = as_owner.post("/batches/new/try/?source=table", posted(file=table(), row="2")).content.decode()
    assert "A computer scientist." in page
    assert "row-2" in page
    assert server.requests[-1].body["messages"][-1]["content"] == "Who is Grace?"
    assert not Batch.objects.exists()
    missing = as_owner.post("/batches/new/try/?source=table", posted(file=table(), row="9")).content.decode()
    assert "Row 9 does not exist." in missing


def test_a_tried_row_shows_an_answer_that_misses_its_schema(as_owner: Client, server: Upstream) -> None:
    server.default = says("About forty.")
    page = as_owner.post("/batches/new/try/?source=lines", posted(lines="Ada", template="", schema=SCHEMA)).content.decode()
    assert "No valid answer in 3 tries" in page
    assert "About forty." in page
    assert not Attempt.objects.filter(source="chat").exists()
