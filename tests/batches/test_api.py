"""`/v1/files` and `/v1/batches` by the official client, against a real server: FAULTS 7 and 41 over the API."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest

from tests.batches.conftest import line, lines
from tests.live import Live
from tests.upstream import Received, Upstream, Wire, error, says

SCHEMA = json.loads((Path(__file__).parent / "openai_schema.json").read_text())


def fits(kind: str, item: Any) -> None:
    """Fail unless the object validates against OpenAI's published schema."""
    jsonschema.validate(item, {**SCHEMA, "$ref": f"#/components/schemas/{kind}"})


def raw(response: Any) -> Any:
    return json.loads(response.http_response.read())


async def picky(received: Received, wire: Wire) -> None:
    bad = received.body["messages"][-1]["content"] == "question 3"
    await (error("No threes.") if bad else says("fine"))(received, wire)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    server.default = picky
    yield server
    server.stop(wait=False)


@pytest.fixture(scope="module")
def client_of(live: Live, upstream: Upstream) -> Callable[[str], openai.OpenAI]:
    """The official client of one of the usual users."""
    done = live.manage("add_backend", "--name", "up", "--base-url", upstream.base_url)
    assert done.returncode == 0, done.stderr

    def make(username: str) -> openai.OpenAI:
        token = live.manage("create_token", "--user", username).stdout.strip()
        return openai.OpenAI(api_key=token, base_url=f"{live.url}/v1", max_retries=0)

    return make


@pytest.fixture(scope="module")
def client(client_of: Callable[[str], openai.OpenAI]) -> openai.OpenAI:
    return client_of("owner")


def ended(client: openai.OpenAI, batch_id: str) -> Any:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = client.batches.with_raw_response.retrieve(batch_id)
        fits("Batch", raw(found))
        batch = found.parse()
        if batch.status in {"completed", "failed", "expired", "cancelled"}:
            return batch
        time.sleep(0.1)
    raise AssertionError(f"the batch is still {batch.status}")


def test_upload_create_poll_and_download(client: openai.OpenAI) -> None:
    uploaded = client.files.with_raw_response.create(file=("in.jsonl", b"".join(lines(5))), purpose="batch")
    fits("OpenAIFile", raw(uploaded))
    file = uploaded.parse()
    created = client.batches.with_raw_response.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"for": "tests"}
    )
    fits("Batch", raw(created))
    batch = ended(client, created.parse().id)
    assert batch.errors is None, batch.errors
    assert (batch.status, batch.metadata, batch.model) == ("completed", {"for": "tests"}, "up/m")
    assert (batch.request_counts.total, batch.request_counts.completed + batch.request_counts.failed) == (5, 5)
    output = [json.loads(text) for text in client.files.content(batch.output_file_id).text.splitlines()]
    assert {item["custom_id"] for item in output} >= {"row-1", "row-2", "row-4", "row-5"}
    made = client.files.with_raw_response.retrieve(batch.output_file_id)
    fits("OpenAIFile", raw(made))
    assert made.parse().bytes == len(client.files.content(batch.output_file_id).content)
    assert client.files.content(file.id).content == b"".join(lines(5))


def test_a_wrong_file_fails_with_openais_codes_and_lines(client: openai.OpenAI) -> None:
    """FAULTS 41: over the API."""
    file = client.files.create(file=("in.jsonl", line("a") + b"{\n" + line("a")), purpose="batch")
    batch = ended(client, client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h").id)
    assert batch.status == "failed"
    assert [(item.code, item.line) for item in batch.errors.data] == [("invalid_json_line", 2), ("duplicate_custom_id", 3)]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"completion_window": "1h"}, "completion_window"),
        ({"endpoint": "/v1/images"}, "endpoint"),
        ({"metadata": {"a": "x" * 600}}, "metadata.a"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 5}}, None),
    ],
)
def test_a_wrong_request_is_a_400(client: openai.OpenAI, wrong: dict[str, Any], param: str | None) -> None:
    file = client.files.create(file=("in.jsonl", line("a")), purpose="batch")
    body = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"} | wrong
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/batches", body=body, cast_to=object)
    assert param is None or caught.value.param == param


def test_a_file_of_another_purpose_is_no_input(client: openai.OpenAI) -> None:
    file = client.files.create(file=("in.jsonl", line("a")), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose 'batch'"):
        client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")


def test_what_belongs_to_another_is_not_there(client: openai.OpenAI, client_of: Callable[[str], openai.OpenAI]) -> None:
    """FAULTS 7: files and batches of another user."""
    stranger = client_of("other")
    file = client.files.create(file=("in.jsonl", line("a")), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    calls: list[Callable[[], object]] = [
        lambda: stranger.files.retrieve(file.id),
        lambda: stranger.files.content(file.id),
        lambda: stranger.files.delete(file.id),
        lambda: stranger.batches.retrieve(batch.id),
        lambda: stranger.batches.cancel(batch.id),
        lambda: stranger.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"),
        lambda: stranger.files.retrieve("file-nonsense"),
        lambda: stranger.batches.retrieve("nonsense"),
    ]
    for call in calls:
        with pytest.raises(openai.NotFoundError):
            call()
    assert [item.id for item in stranger.batches.list()] == []
    assert [item.id for item in stranger.files.list()] == []


def test_lists_are_paged_by_id(client: openai.OpenAI) -> None:
    made = [client.files.create(file=(f"{n}.jsonl", line("a")), purpose="batch").id for n in range(3)]
    fits("ListFilesResponse", raw(client.files.with_raw_response.list(limit=2)))
    assert [file.id for file in client.files.list(limit=2)][:3] == made[::-1]  # the client follows the pages
    batches = [client.batches.create(input_file_id=i, endpoint="/v1/chat/completions", completion_window="24h").id for i in made]
    fits("ListBatchesResponse", raw(client.batches.with_raw_response.list(limit=2)))
    assert [batch.id for batch in client.batches.list(limit=1)][:3] == batches[::-1]


def test_a_batch_can_be_cancelled(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.default = says("late", first=30)
    try:
        file = client.files.create(file=("in.jsonl", b"".join(lines(4))), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        fits("Batch", raw(client.batches.with_raw_response.cancel(batch.id)))
        done = ended(client, batch.id)
    finally:
        upstream.default = picky
    assert done.status == "cancelled"
    assert done.request_counts.completed + done.request_counts.failed == done.request_counts.total


def test_a_deleted_file_is_gone_and_one_in_use_stays(client: openai.OpenAI) -> None:
    file = client.files.create(file=("in.jsonl", line("a")), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == file.created_at + 3600
    fits("DeleteFileResponse", raw(client.files.with_raw_response.delete(file.id)))
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)
