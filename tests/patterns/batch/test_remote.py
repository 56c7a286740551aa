"""A batch on a server that has the Batch API: submitted once, followed, read to its last line."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.upstream import Upstream
from webapp.patterns.batch import remote
from webapp.patterns.openai.backend import OpenAIBackend
from webapp.patterns.types import Json

CHAT = "/v1/chat/completions"


class Listing:
    """A server that lists so many jobs, `PAGE` at a time; the last is `mine`."""

    def __init__(self, others: int) -> None:
        self.jobs: list[Json] = [{"id": f"batch_{number}", "metadata": None} for number in range(others)]
        self.jobs.append({"id": "batch_mine", "metadata": {remote.KEY: "mine"}})
        self.pages = 0

    async def create_batch(
        self, input_file_id: str, endpoint: str, *, window: str = "24h", metadata: Mapping[str, str] | None = None
    ) -> Json:
        raise AssertionError("nothing is created here")

    async def retrieve_batch(self, batch_id: str) -> Json:
        raise AssertionError(batch_id)

    async def list_batches(self, *, limit: int = 20, after: str = "") -> list[Json]:
        self.pages += 1
        ids = [job["id"] for job in self.jobs]
        start = ids.index(after) + 1 if after else 0
        return self.jobs[start : start + limit]

    def file_content(self, file_id: str) -> AsyncGenerator[bytes, None]:
        raise AssertionError(file_id)


async def served(upstream: Upstream, rows: int) -> tuple[OpenAIBackend, str]:
    backend = OpenAIBackend("up", upstream.base_url)
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    lines = [{"custom_id": f"row-{number}", "method": "POST", "url": CHAT, "body": body} for number in range(rows)]
    return backend, upstream.files.add("in.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in lines))


async def test_a_job_is_submitted_followed_and_read(make_upstream: Callable[..., Upstream]) -> None:
    upstream = make_upstream()
    upstream.files.polls, upstream.files.fail_custom_ids = 3, {"row-1"}
    backend, file_id = await served(upstream, 3)
    pauses: list[float] = []
    looks: list[str] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    job = await remote.submit(backend, file_id, CHAT, key="k", metadata={"team": "a"})
    job = await remote.follow(backend, job["id"], on_poll=lambda job: looks.append(job["status"]), sleep=sleep)
    found = [result async for result in remote.results(backend, job)]
    await backend.aclose()
    assert looks == ["in_progress", "in_progress", "completed"]
    assert pauses == [remote.SHORTEST, remote.SHORTEST]
    assert job["metadata"] == {"team": "a", remote.KEY: "k"}
    assert [(result.custom_id, result.ok) for result in found] == [("row-0", True), ("row-2", True), ("row-1", False)]


async def test_a_second_try_finds_the_job_of_the_first(make_upstream: Callable[..., Upstream]) -> None:
    """FAULTS 44: the answer to the first try never came; the job is not made twice."""
    upstream = make_upstream()
    backend, file_id = await served(upstream, 1)
    first = await remote.submit(backend, file_id, CHAT, key="k")
    again = await remote.submit(backend, file_id, CHAT, key="k", tried_before=True)
    other = await remote.submit(backend, file_id, CHAT, key="another", tried_before=True)
    assert (await remote.follow(backend, other["id"]))["status"] == "completed"
    await backend.aclose()
    assert again["id"] == first["id"] != other["id"]


async def test_a_job_is_looked_for_on_further_pages() -> None:
    server = Listing(others=250)
    found = await remote.find(server, "mine")
    assert found is not None
    assert found["id"] == "batch_mine"
    assert server.pages == 3


@pytest.mark.parametrize(("others", "pages"), [(10, 1), (5000, remote.PAGES)])
async def test_the_search_for_a_job_ends(others: int, pages: int) -> None:
    server = Listing(others)
    assert await remote.find(server, "nobody's") is None
    assert server.pages == pages


async def test_a_job_without_files_has_no_results(make_upstream: Callable[..., Upstream]) -> None:
    backend = OpenAIBackend("up", make_upstream().base_url)
    assert [result async for result in remote.results(backend, {"output_file_id": None})] == []
    await backend.aclose()


async def test_a_line_that_is_no_result_is_passed_over(make_upstream: Callable[..., Upstream]) -> None:
    upstream = make_upstream()
    backend = OpenAIBackend("up", upstream.base_url)
    file_id = upstream.files.add("out.jsonl", b"\nnot json\n")
    assert [result async for result in remote.results(backend, {"output_file_id": file_id})] == []
    await backend.aclose()


async def test_a_reader_that_leaves_early_closes_the_download() -> None:
    closed: list[str] = []

    class Serving(Listing):
        async def file_content(self, file_id: str) -> AsyncGenerator[bytes, None]:
            try:
                yield b'{"custom_id": "a", "response": {"status_code": 200, "body": {}}}\n' * 2
            finally:
                closed.append(file_id)

    results = remote.results(Serving(0), {"output_file_id": "file-1"})
    assert (await anext(results)).custom_id == "a"
    await results.aclose()
    assert closed == ["file-1"]


def test_the_pauses_grow_within_bounds() -> None:
    assert [remote.pause(age) for age in (0, 100, 86_400)] == [remote.SHORTEST, 10, remote.LONGEST]


@given(st.lists(st.binary(min_size=1, max_size=20).map(lambda raw: raw.replace(b"\n", b".")), min_size=1), st.integers(1, 9), st.booleans())
async def test_lines_do_not_depend_on_how_the_bytes_arrive(lines: Sequence[bytes], size: int, end: bool) -> None:
    raw = b"\n".join(lines) + (b"\n" if end else b"")

    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(raw), size):
            yield raw[start : start + size]

    assert [line async for line in remote.lines(pieces())] == list(lines)
