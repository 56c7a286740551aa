"""Search as a person uses it: drop files, watch them become ready, type, read, ask."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.live import Live, OpenPage, accessibility_violations

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

CATS = b"# Cats\n\nA cat sleeps most of the day. Kittens play with wool.\n"
ENGINES = b"# Engines\n\nA diesel engine burns fuel under high pressure. <img src=x onerror=alert(1)>\n"
PATIENCE = 60_000


def create_collection(page: Page, name: str) -> None:
    """Create a collection and wait for its page. The form is folded where another test already made a collection for this user."""
    page.goto("/search/collections/")
    folded = page.locator("details.new:not([open]) > summary")
    if folded.count():
        folded.click()
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Create").click()
    page.wait_for_url("**/search/collections/*/")


def test_from_a_drop_to_the_passage_and_a_chat_about_it(live: Live, browser_page: OpenPage) -> None:
    page = browser_page(live, "owner")
    create_collection(page, "Animals and machines")
    files: list[FilePayload] = [
        {"name": "cats.md", "mimeType": "text/markdown", "buffer": CATS},
        {"name": "engines.md", "mimeType": "text/markdown", "buffer": ENGINES},
        {"name": "noise.txt", "mimeType": "text/plain", "buffer": bytes(range(256)) * 40},
    ]
    page.get_by_test_id("document-upload").set_input_files(files)
    expect(page.locator("[data-testid=document-row][data-status=ready]")).to_have_count(2, timeout=PATIENCE)
    failed = page.locator("[data-testid=document-row][data-status=failed]")
    failed.wait_for(timeout=PATIENCE)
    assert "It is binary data, not text" in failed.inner_text()
    assert accessibility_violations(page) == []

    page.goto("/search/")
    page.get_by_test_id("search-input").press_sequentially("what do felines play with", delay=20)
    first = page.get_by_test_id("search-result").first
    first.wait_for(timeout=PATIENCE)
    page.wait_for_url("**/search/?q=what+do+felines+play+with")
    assert "cats.md" in first.inner_text()
    assert "Meaning" in first.get_by_test_id("search-score").inner_text()
    assert accessibility_violations(page) == []

    page.get_by_text("Words", exact=True).click()
    page.wait_for_url("**mode=keyword**")
    page.reload()
    assert page.get_by_test_id("search-input").input_value() == "what do felines play with"

    page.get_by_test_id("search-input").fill("diesel fuel")
    page.locator("[data-testid=search-result] h2 a", has_text="engines.md").click()
    page.wait_for_url("**#passage")
    assert "<img src=x" in page.locator("#passage").inner_text()
    assert accessibility_violations(page) == []

    page.goto("/search/?q=kittens")
    page.get_by_role("button", name="Ask about these").click()
    page.wait_for_url("**/chat/**")
    assert "Kittens play with wool." in page.get_by_test_id("chat-input").input_value()


def test_a_folder_keeps_its_paths_whether_it_is_chosen_or_dropped(live: Live, browser_page: OpenPage, tmp_path: Path) -> None:
    page = browser_page(live, "other")
    create_collection(page, "A folder")
    (tmp_path / "manual" / "inner").mkdir(parents=True)
    for name in ("index.md", "inner/index.md"):
        (tmp_path / "manual" / name).write_text(f"# {name}\n\nText of {name}.\n")
    page.locator("input[webkitdirectory]").set_input_files(str(tmp_path / "manual"))
    for name in ("manual/index.md", "manual/inner/index.md"):
        expect(page.get_by_test_id("document-row").filter(has=page.get_by_role("link", name=name, exact=True))).to_have_count(1)
    drop = page.context.new_cdp_session(page)
    box = page.locator(".dropzone").bounding_box()
    assert box
    dropped = tmp_path / "dropped"
    (tmp_path / "manual").rename(dropped)
    (dropped / "index.md").write_text("# Another\n\nText.\n")
    data = {"items": [], "files": [str(dropped)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        drop.send("Input.dispatchDragEvent", {"type": kind, "x": box["x"] + 40, "y": box["y"] + 40, "data": data})
    expect(page.get_by_role("link", name="dropped/index.md", exact=True)).to_have_count(1)
    expect(page.get_by_text("Already in this collection: manual/inner/index.md")).to_be_visible()


def test_the_search_page_is_accessible_on_a_dark_phone(live: Live, browser_page: OpenPage) -> None:
    long = "one_word_without_any_place_to_break_" * 4
    live.run_python(
        "from search import services; from webapp.accounts.models import User;"
        f"services.create_collection(owner=User.objects.get(username='other'), name={long[:100]!r}, description={long!r})"
    )
    page = browser_page(live, "other", width=390, dark=True)
    for path in ("/search/", "/search/collections/"):
        page.goto(path)
        assert accessibility_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
