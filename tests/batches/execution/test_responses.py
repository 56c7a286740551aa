"""Batch lines for /v1/responses in the local executor."""

from __future__ import annotations

from typing import Any

from batches.models import BatchRow
from batches.results import outputs
from tests.batches.conftest import in_thread, line, make_batch, rows_of, run
from tests.batches.execution.test_runner import output_of
from tests.upstream import Upstream, says
from webapp.accounts.models import User


def response_line(custom_id: str, text: str, **body: Any) -> bytes:
    return line(custom_id, url="/v1/responses", body={"model": "up/m", "input": text, **body})


async def test_each_line_is_a_response(owner: User, upstream: Upstream) -> None:
    upstream.default = says("Hello")
    data = [response_line("a", "one", instructions="be brief", max_output_tokens=9), response_line("b", "two")]
    batch = await run(await in_thread(make_batch)(owner, data))
    assert (batch.status, batch.completed, batch.failed) == ("completed", 2, 0)
    assert (batch.prompt_tokens, batch.completion_tokens) == (14, 6)
    body = (await output_of(batch))[0]["response"]["body"]
    assert body["object"] == "response"
    assert body["output"][0]["content"][0]["text"] == "Hello"
    sent = next(received.body for received in upstream.requests if received.method == "POST" and "max_tokens" in received.body)
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    row = (await rows_of(batch))[0]
    assert outputs.answer_of(row) == "Hello"


async def test_a_line_that_needs_stored_state_fails_alone(owner: User, upstream: Upstream) -> None:
    upstream.default = says("Hello")
    data = [response_line("a", "one", previous_response_id="resp_1"), response_line("b", "two")]
    batch = await run(await in_thread(make_batch)(owner, data))
    assert (batch.completed, batch.failed) == (1, 1)
    failed = await BatchRow.objects.aget(batch=batch, state=BatchRow.State.FAILED)
    assert "previous_response_id" in failed.error_message
