"""Jobs that others created at a backend: seen, followed, brought home, and left alone."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.test import AsyncClient

from batches import services
from batches.models import Batch
from batches.remote import remote_jobs
from batches.results import row_display
from tests.batches.conftest import in_thread, lines, make_batch, rows_of, running, until
from tests.batches.remote.test_remote_batches import calls, hurry
from tests.upstream import Upstream
from webapp.accounts.models import User
from webapp.patterns.openai.backend import OpenAIBackend


async def elsewhere(upstream: Upstream, count: int = 3) -> str:
    """A job that somebody created with the backend's key; its id."""
    server = OpenAIBackend("theirs", upstream.base_url)
    file = await server.upload_file("theirs.jsonl", b"".join(lines(count, model="m")))
    job = await server.create_batch(file["id"], "/v1/chat/completions", metadata={"description": "Nightly"})
    await server.aclose()
    return str(job["id"])


async def allowed(user: User) -> User:
    permission = await Permission.objects.aget(codename="follow_batch")
    await in_thread(user.user_permissions.add)(permission)
    return await User.objects.aget(pk=user.pk)


async def test_a_job_of_others_is_listed_and_followed_to_its_results(owner: User, upstream: Upstream) -> None:
    upstream.files.fail_custom_ids = {"row-2"}
    upstream.files.polls = 4
    job = await elsewhere(upstream)
    assert await remote_jobs.servers() == ["up"]
    (found,) = (await remote_jobs.listed(owner, "up")).jobs
    assert (found.id, found.name, found.total, found.batch) == (job, "Nightly", 3, None)
    batch = await remote_jobs.follow(user=owner, backend="up", job_id=job)
    assert (await remote_jobs.follow(user=owner, backend="up", job_id=job)).pk == batch.pk, "one batch, however often it is asked for"
    async with running():
        await until(lambda b: b.input_file_id is not None, batch)
    assert [(row.custom_id, row.state) for row in await rows_of(batch)] == [("row-1", 0), ("row-2", 0), ("row-3", 0)]
    await hurry(batch)
    assert (batch.status, batch.total, batch.completed, batch.failed, batch.model) == ("completed", 3, 2, 1, "up/m")
    rows = await rows_of(batch)
    assert "echo: question 3" in rows[2].response
    (found,) = (await remote_jobs.listed(owner, "up")).jobs
    assert found.batch == batch


async def test_the_steps_of_a_followed_job_are_at_the_backends_own_times(owner: User, upstream: Upstream) -> None:
    """Yesterday's job did not begin when somebody here began to look at it."""
    upstream.files.polls = 1_000
    job = upstream.files.batches[await elsewhere(upstream)]
    job |= {"created_at": 1_700_000_000, "in_progress_at": 1_700_000_060, "finalizing_at": None}
    batch = await remote_jobs.follow(user=owner, backend="up", job_id=job["id"])
    assert _steps(batch) == [("done", 1_700_000_000), ("now", 1_700_000_060), ("next", None), ("next", None)]
    job |= {"finalizing_at": 1_700_000_120, "completed_at": 1_700_000_180}
    upstream.files._complete(job)
    batch = await hurry(batch)
    assert _steps(batch) == [("done", 1_700_000_000 + 60 * n) for n in range(4)]
    assert batch.completed_at is not None
    assert batch.completed_at.timestamp() > 1_700_000_180, "how long it is kept here counts from its end here"


def _steps(batch: Batch) -> list[tuple[str, int | None]]:
    return [(step.state, step.at and int(step.at.timestamp())) for step in row_display.steps(batch)]


async def test_a_job_whose_requests_are_gone_has_a_row_for_each_result(owner: User, upstream: Upstream) -> None:
    upstream.files.polls = 1
    job = await elsewhere(upstream)
    kept = upstream.files.batches[job]["input_file_id"]
    upstream.files._complete(upstream.files.batches[job])
    del upstream.files.files[kept]
    batch = await hurry(await remote_jobs.follow(user=owner, backend="up", job_id=job))
    assert (batch.status, batch.total, batch.completed, batch.input_file_id) == ("completed", 3, 3, None)
    assert [row.custom_id for row in await rows_of(batch)] == ["row-1", "row-2", "row-3"]


async def test_no_longer_following_a_job_leaves_it_running(owner: User, upstream: Upstream) -> None:
    upstream.files.polls = 1_000
    job = await elsewhere(upstream)
    batch = await remote_jobs.follow(user=owner, backend="up", job_id=job)
    async with running():
        await until(lambda b: b.input_file_id is not None, batch)
    await in_thread(services.cancel_batch)(batch=batch)
    await hurry(batch)
    assert batch.status == "cancelled"
    await in_thread(services.delete_batch)(batch=batch)
    assert upstream.files.batches[job]["status"] == "in_progress"
    assert calls(upstream, "POST", f"/v1/batches/{job}/cancel") == 0


async def test_the_batch_of_another_user_here_is_neither_listed_nor_followed(owner: User, upstream: Upstream) -> None:
    """FAULTS 7: the key is shared, the batches are not."""
    upstream.files.polls = 1_000
    batch: Batch = await in_thread(make_batch)(owner, lines(1), executor="remote")
    async with running():
        await until(lambda b: bool(b.remote_id), batch)
    other = await User.objects.aget(username="other")
    assert (await remote_jobs.listed(other, "up")).jobs == []
    client = AsyncClient()
    await client.aforce_login(await allowed(other))
    await client.post("/batches/remote/follow/", {"backend": "up", "job": batch.remote_id})
    assert not await Batch.objects.filter(user=other).aexists()
    (found,) = (await remote_jobs.listed(owner, "up")).jobs
    assert found.batch == batch


async def test_the_page_is_for_those_who_may(owner: User, upstream: Upstream) -> None:
    job = await elsewhere(upstream)
    client = AsyncClient()
    await client.aforce_login(owner)
    assert (await client.get("/batches/remote/")).status_code == 403
    assert (await client.post("/batches/remote/follow/", {"backend": "up", "job": job})).status_code == 403
    assert b"Remote jobs" not in (await client.get("/batches/")).content
    await allowed(owner)
    assert b"Remote jobs" in (await client.get("/batches/")).content
    page = await client.get("/batches/remote/?backend=up")
    assert job.encode() in page.content
    assert b"Nightly" in page.content
    answer = await client.post("/batches/remote/follow/", {"backend": "up", "job": job})
    batch = await Batch.objects.aget()
    assert answer["Location"] == f"/batches/{batch.pk}/"
    shown = (await client.get(f"/batches/{batch.pk}/")).content
    assert b"Stop following" in shown


@pytest.mark.parametrize("posted", [{"backend": "nobody", "job": "x"}, {"backend": "up", "job": "batch_none"}, {"backend": "up"}])
async def test_what_cannot_be_followed_is_said(owner: User, upstream: Upstream, posted: dict[str, str]) -> None:
    client = AsyncClient()
    await client.aforce_login(await allowed(owner))
    answer = await client.post("/batches/remote/follow/", posted, follow=True)
    assert answer.status_code == 200
    assert b'data-level="error"' in answer.content
    assert not await Batch.objects.aexists()


async def test_strange_jobs_do_no_harm(owner: User, upstream: Upstream) -> None:
    """FAULTS 5: what a server says of its jobs is shown as text, whatever it is."""
    strange = {"id": "<script>1</script>", "created_at": "soon", "metadata": ["x"], "request_counts": [1], "model": None, "status": 7}
    counts = {"total": "many", "completed": -3}
    other = {"id": "x" * 500, "created_at": 1e300, "metadata": {"name": "\0"}, "request_counts": counts, "endpoint": 5, "expires_at": -1}
    other["status"] = "completed"
    upstream.files._looks["x" * 500] = 0
    upstream.files.batches = {"a": strange, "b": {"object": "batch"}, "x" * 200: other}
    client = AsyncClient()
    await client.aforce_login(await allowed(owner))
    page = (await client.get("/batches/remote/")).content.decode()
    assert "&lt;script&gt;1&lt;/script&gt;" in page
    assert page.count('data-testid="remote-job"') == 2
    batch = await remote_jobs.follow(user=owner, backend="up", job_id="x" * 200)
    assert (batch.remote_id, batch.total, batch.endpoint) == ("x" * 200, 0, "")


async def test_requests_that_cannot_be_had_for_a_while_are_waited_for(owner: User, upstream: Upstream) -> None:
    upstream.files.polls = 1_000
    job = await elsewhere(upstream)
    batch = await remote_jobs.follow(user=owner, backend="up", job_id=job)
    upstream.files.answer = lambda *_call: (503, {"error": {"message": "later"}})  # type: ignore[method-assign]  # for a while
    async with running():
        await until(lambda b: bool(b.paused), batch)
    del upstream.files.answer
    assert batch.remote_file_id
    await Batch.objects.filter(pk=batch.pk).aupdate(due_at=batch.created_at)
    async with running():
        await until(lambda b: b.input_file_id is not None and not b.paused, batch)
