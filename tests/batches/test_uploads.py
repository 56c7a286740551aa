"""Two hundred megabytes go in by every door, and the server's memory hardly notices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import openai
import pytest

from tests.batches.conftest import line
from tests.batches.test_large import until
from tests.live import Live

ROWS, MEGABYTES = 40_000, 200
MOST_GROWTH = 100


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 200 MB of good lines, whose model nobody has: it is looked through whole, and nothing of it is sent."""
    path: Path = tmp_path_factory.mktemp("large") / "large.jsonl"
    padding = "x" * (MEGABYTES * 1024 * 1024 // ROWS - 200)
    with path.open("wb") as file:
        for number in range(ROWS):
            file.write(line(f"row-{number}", padding, model="nobody/has"))
    assert path.stat().st_size > 0.97 * MEGABYTES * 1024 * 1024
    return path


@contextmanager
def growth(live: Live) -> Iterator[list[float]]:
    """The server's memory in MB beyond what it was, sampled while the block runs."""
    before, samples, over = live.memory_mb(), [0.0], threading.Event()

    def sample() -> None:
        while not over.wait(0.05):
            samples.append(live.memory_mb() - before)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_a_file_of_200_mb_goes_in_within_100_mb(new_live: Callable[..., Live], large: Path, server: str) -> None:
    live = new_live(server=server)
    token = live.manage("create_token", "--user", "owner").stdout.strip()
    browser = live.sign_in("owner")
    browser.timeout = httpx2.Timeout(120)
    with openai.OpenAI(api_key=token, base_url=f"{live.url}/v1", timeout=120) as client:
        client.models.list()
        browser.get("/batches/new/")
        with growth(live) as grown:
            with large.open("rb") as file:
                stored = client.files.create(file=file, purpose="batch")
            over_the_api = client.batches.create(input_file_id=stored.id, endpoint="/v1/chat/completions", completion_window="24h")
            assert _codes(client, over_the_api.id) == ["model_not_found"]
            with large.open("rb") as file:
                checked = browser.post("/batches/new/check/", files={"file": file})
            assert "model_not_found" in checked.text
            with large.open("rb") as file:
                made = browser.post("/batches/new/", data={"executor": "local"}, files={"file": file})
            by_the_form = "batch_" + made.headers["location"].strip("/").split("/")[-1].replace("-", "")
            assert _codes(client, by_the_form) == ["model_not_found"]
        assert stored.bytes == large.stat().st_size
        assert max(grown) < MOST_GROWTH, f"it grew by {max(grown):.0f} MB"


def _codes(client: openai.OpenAI, batch_id: str) -> list[str | None]:
    failed = until(client, batch_id, lambda batch: batch.status == "failed", seconds=60)
    assert failed.errors
    return [error.code for error in failed.errors.data or []]
