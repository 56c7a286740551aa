"""The batch monitor as people use it: a real server, a real browser, a real upstream."""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import Live, OpenPage, accessibility_violations, copied
from tests.upstream import Received, Upstream, Wire, error, says
from tests.users import PASSWORD

pytestmark = pytest.mark.browser
ADD_BACKEND = """
from webapp.backends.services import add_backend, add_model
add_model(backend=add_backend(name="up", base_url="{url}"), name="m")
"""
ADD_PERSON = "from webapp.accounts.models import User; User.objects.create_user('{name}', password='{password}')"
SHOTS = os.environ.get("SHOTS")
"""A folder for pictures of the pages, for whoever works on them."""


def input_file(folder: Path, count: int, *, model: str = "up/m") -> Path:
    path = folder / "questions.jsonl"
    with path.open("w") as file:
        for number in range(count):
            body = {"model": model, "messages": [{"role": "user", "content": f"question {number}"}]}
            file.write(json.dumps({"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n")
    return path


async def picky(received: Received, wire: Wire) -> None:
    """Refuses every seventh question."""
    bad = int(received.body["messages"][-1]["content"].split()[-1]) % 7 == 0
    await (error("No sevens.") if bad else says("A fine answer", first=0.05))(received, wire)


@pytest.fixture(scope="module")
def server(populated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server that offers `up/m`."""
    upstream = Upstream()
    upstream.default = picky
    live = Live(copied(populated_home, tmp_path_factory)).start()
    live.run_python(ADD_BACKEND.format(url=upstream.base_url))
    with contextlib.closing(live.sign_in("owner")) as client:
        until = time.monotonic() + 15  # the server looks for changes every few seconds
        while "up/m" not in client.get("/batches/new/?source=table").text:
            assert time.monotonic() < until
            time.sleep(0.1)
    yield live
    live.stop()
    upstream.stop(wait=False)


@pytest.fixture
def person(server: Live) -> str:
    """Somebody who has no batches yet."""
    name = f"person-{uuid.uuid4()}"
    server.run_python(ADD_PERSON.format(name=name, password=PASSWORD))
    return name


def shot(page: object, name: str) -> None:
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)  # type: ignore[attr-defined]


def test_a_file_is_uploaded_run_watched_and_its_results_downloaded(
    server: Live, person: str, browser_page: OpenPage, tmp_path: Path
) -> None:
    page = browser_page(server, person)
    page.goto("/batches/")
    shot(page, "empty")
    page.goto("/batches/new/")
    page.get_by_test_id("batch-upload").set_input_files(input_file(tmp_path, 300))
    page.get_by_text("all lines are valid").wait_for()
    shot(page, "new-checked")
    page.get_by_text("Name, execution, webhook").click()
    page.get_by_label("Execution").select_option("local")
    page.get_by_label("Requests at once").fill("5")
    page.get_by_test_id("batch-submit").click()
    page.locator("[data-testid=batch-row][data-status=in_progress]").wait_for()
    shot(page, "running")
    page.locator("[data-testid=batch-row][data-status=completed]").wait_for(timeout=30_000)
    assert page.get_by_test_id("batch-progress").get_attribute("data-done") == "300"
    with page.expect_download() as download:
        page.get_by_test_id("batch-download-output").click()
    good = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    with page.expect_download() as download:
        page.get_by_test_id("batch-download-errors").click()
    bad = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert (len(good), len(bad)) == (257, 43)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2500)
    assert [url for url in asked if url.endswith("/status/")] == []  # nothing runs: nothing is polled
    page.get_by_label("State").select_option("failed")
    page.get_by_role("link", name="row-1", exact=True).wait_for(state="detached")
    page.get_by_role("link", name="row-7", exact=True).click()
    page.get_by_text("As curl").wait_for()
    shot(page, "completed")
    page.get_by_test_id("batch-retry-failed").click()
    page.get_by_text("Retry of").first.wait_for()
    page.goto("/batches/")
    assert page.get_by_test_id("batch-row").count() == 2
    shot(page, "list")


NOTIFICATIONS = """
window.told = [];
window.Notification = class {
  static permission = "default";
  static requestPermission() { Notification.permission = "granted"; return Promise.resolve("granted"); }
  constructor(title, { body }) { told.push(`${title}: ${body}`); }
};
"""


@pytest.mark.parametrize("watched", ["the batch", "the list"])
def test_the_browser_says_when_a_batch_has_ended(server: Live, person: str, browser_page: OpenPage, tmp_path: Path, watched: str) -> None:
    page = browser_page(server, person)
    page.add_init_script(NOTIFICATIONS)
    page.goto("/batches/")
    assert page.get_by_role("button", name="Notify me").count() == 0, "nothing runs: nothing is offered"
    page.goto("/batches/new/")
    page.get_by_test_id("batch-upload").set_input_files(input_file(tmp_path, 200))
    page.get_by_text("all lines are valid").wait_for()
    page.get_by_text("Name, execution, webhook").click()
    page.get_by_label("Name", exact=True).fill("Nightly")
    page.get_by_label("Execution").select_option("local")
    page.get_by_label("Requests at once").fill("3")
    page.get_by_test_id("batch-submit").click()
    page.locator("[data-testid=batch-row][data-status=in_progress]").wait_for()
    if watched == "the list":
        page.goto("/batches/")
    page.get_by_role("button", name="Notify me").click()
    page.get_by_role("button", name="Notify me").wait_for(state="hidden")
    page.locator("[data-testid=batch-row][data-status=completed]").wait_for(timeout=30_000)
    page.wait_for_timeout(100)
    assert page.evaluate("told") == ["Nightly: Completed: 171 of 200 rows succeeded"]


def test_a_wrong_file_shows_all_its_errors_before_anything_is_sent(
    server: Live, person: str, browser_page: OpenPage, tmp_path: Path
) -> None:
    page = browser_page(server, person)
    path = input_file(tmp_path, 3)
    path.write_text(path.read_text() + "{\n" + path.read_text())
    page.goto("/batches/new/")
    page.get_by_test_id("batch-upload").set_input_files(path)
    page.get_by_text("4 problems in").wait_for()
    shot(page, "wrong")
    page.get_by_test_id("batch-submit").click()
    page.locator("[data-testid=batch-row][data-status=failed]").wait_for()
    assert page.get_by_text("duplicate_custom_id").count() == 3
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_table_and_a_template_make_requests(server: Live, person: str, browser_page: OpenPage, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("id,name,age\na,Ada,36\nb,Béla,44\n")
    page = browser_page(server, person)
    page.goto("/batches/new/?source=table")
    page.get_by_test_id("batch-upload").set_input_files(path)
    page.get_by_label("Model").select_option("up/m")
    page.get_by_label("Prompt template").fill("How old is {{ name }} in year {{ age }}? 5")
    page.get_by_text("How old is Ada in year 36?").wait_for()
    shot(page, "table")
    page.get_by_test_id("batch-submit").click()
    page.locator("[data-testid=batch-row][data-status=completed]").wait_for()
    page.get_by_role("link", name="b", exact=True).wait_for()


@pytest.mark.parametrize(("width", "dark"), [pytest.param(390, True, marks=pytest.mark.slow), (1440, False)])
def test_the_pages_are_accessible(server: Live, person: str, browser_page: OpenPage, tmp_path: Path, width: int, dark: bool) -> None:
    page = browser_page(server, person, width=width, dark=dark)
    page.goto("/batches/new/")
    page.get_by_test_id("batch-upload").set_input_files(input_file(tmp_path, 40))
    page.get_by_text("all lines are valid").wait_for()
    page.get_by_text("Name, execution, webhook").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert accessibility_violations(page) == []
    page.get_by_test_id("batch-submit").click()
    page.locator("[data-testid=batch-row][data-status=completed]").wait_for()
    page.reload()
    assert accessibility_violations(page) == []
    shot(page, f"detail-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.goto("/batches/")
    assert accessibility_violations(page) == []
    shot(page, f"list-{width}")
