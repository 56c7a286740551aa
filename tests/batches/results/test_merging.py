"""Results of retries in one file, answers that miss their schema, unsent rows, and comparisons."""

from __future__ import annotations

import json
import re

from django.test import AsyncClient

from batches import selectors, services
from batches.models import Batch, BatchRow
from batches.results import comparison, outputs
from tests.batches.conftest import ended, in_thread, lines, make_batch, rows_of, run, running, until
from tests.upstream import Received, Upstream, Wire, error, says
from webapp.accounts.models import User

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


async def odd_fail(received: Received, wire: Wire) -> None:
    odd = int(received.body["messages"][-1]["content"].split()[-1]) % 2
    await (error("no") if odd else says("first"))(received, wire)


async def retried(owner: User, upstream: Upstream) -> tuple[Batch, Batch]:
    """A batch of four rows of which the odd ones failed, and its retry."""
    upstream.default = odd_fail
    batch = await run(await in_thread(make_batch)(owner, lines(4)))
    upstream.default = says("second")
    return batch, await run(await in_thread(services.retry_failed)(batch=batch))


async def test_a_retry_and_its_first_run_make_one_file_in_input_order(owner: User, upstream: Upstream) -> None:
    batch, retry = await retried(owner, upstream)
    for asked in (batch, retry):
        merged = [json.loads(line) for line in await in_thread(lambda one=asked: list(outputs.merged_lines(one)))()]
        texts = [line["response"]["body"]["choices"][0]["message"]["content"] for line in merged]
        assert [line["custom_id"] for line in merged] == ["row-1", "row-2", "row-3", "row-4"]
        assert texts == ["second", "first", "second", "first"]
    table = (await in_thread(lambda: b"".join(outputs.merged_csv(retry)))()).decode()
    assert "question 1,second" in table
    assert "question 2,first" in table


async def test_the_page_offers_the_merged_file(owner: User, upstream: Upstream) -> None:
    batch, _retry = await retried(owner, upstream)
    client = AsyncClient()
    await client.aforce_login(owner)
    page = (await client.get(f"/batches/{batch.pk}/")).content.decode()
    assert f"/batches/{batch.pk}/merged.jsonl" in page


async def test_rows_that_were_never_sent_are_no_failures_and_count_in_no_rate(owner: User, upstream: Upstream) -> None:
    upstream.default = says("ok", first=0.05)
    batch = await in_thread(make_batch)(owner, lines(100), concurrency=2)
    async with running():
        await until(lambda b: b.completed >= 4, batch)
        await in_thread(services.cancel_batch)(batch=batch)
        await until(ended, batch)
    assert batch.unsent == batch.failed == 100 - batch.completed
    assert batch.refused == 0
    assert await in_thread(selectors.failures)(batch) == []
    rate = selectors.ended_rate(batch)
    assert rate is not None
    assert batch.in_progress_at is not None
    assert rate * (batch.ended_at - batch.in_progress_at).total_seconds() < batch.completed + 1
    client = AsyncClient()
    await client.aforce_login(owner)
    page = (await client.get(f"/batches/{batch.pk}/")).content.decode()
    assert f"{batch.unsent} not sent" in page
    assert not re.search(r"\d failed</span>", page)
    unsent = (await client.get(f"/batches/{batch.pk}/rows/?state=unsent")).content.decode()
    assert "Not sent" in unsent


async def test_an_answer_that_misses_its_schema_can_be_read(owner: User, upstream: Upstream) -> None:
    upstream.default = says("About forty.")
    batch = await run(await in_thread(make_batch)(owner, lines(1), schema=SCHEMA))
    (row,) = await rows_of(batch)
    assert row.error_code == "output_invalid"
    client = AsyncClient()
    await client.aforce_login(owner)
    page = (await client.get(f"/batches/{batch.pk}/rows/1/")).content.decode()
    assert "What the model answered" in page
    assert "About forty." in page
    line = json.loads(outputs.line_of(row))
    assert line["response"]["body"]["choices"][0]["message"]["content"] == "About forty."
    assert line["error"]["code"] == "output_invalid"


async def test_a_batch_whose_rows_all_failed_is_not_shown_as_completed(owner: User, upstream: Upstream) -> None:
    upstream.default = error("no")
    batch = await run(await in_thread(make_batch)(owner, lines(2)))
    client = AsyncClient()
    await client.aforce_login(owner)
    page = (await client.get(f"/batches/{batch.pk}/")).content.decode()
    assert batch.status == "completed", "the API keeps OpenAI's status"
    assert '<li data-state="bad">' in page
    assert "All rows failed" in page


async def test_two_runs_are_compared_row_by_row(owner: User, upstream: Upstream) -> None:
    upstream.default = says("the same")
    first = await run(await in_thread(make_batch)(owner, lines(3)))
    second = await run(await in_thread(make_batch)(owner, lines(2)))
    await BatchRow.objects.filter(batch=second, number=2).aupdate(response='{"choices":[{"message":{"content":"another"}}]}')
    page = await in_thread(comparison.compare)(first, second)
    assert [(pair.left.row.number, pair.same) for pair in page.pairs] == [(1, True), (2, False), (3, False)]
    assert page.pairs[2].right is None
    different = await in_thread(lambda: comparison.compare(first, second, only_different=True))()
    assert [pair.left.row.number for pair in different.pairs] == [2, 3]
    client = AsyncClient()
    await client.aforce_login(owner)
    shown = (await client.get(f"/batches/{first.pk}/compare/?with={second.pk}")).content.decode()
    assert "another" in shown
    assert "no such row" in shown
