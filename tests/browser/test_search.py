"""Search as a person uses it: drop files, watch them become ready, type, read, ask."""

from __future__ import annotations

import pytest
from playwright.sync_api import FilePayload, expect

from tests.live import Live, OpenPage, accessibility_violations

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

CATS = b"# Cats\n\nA cat sleeps most of the day. Kittens play with wool.\n"
ENGINES = b"# Engines\n\nA diesel engine burns fuel under high pressure. <img src=x onerror=alert(1)>\n"
PATIENCE = 60_000


def test_from_a_drop_to_the_passage_and_a_chat_about_it(live: Live, browser_page: OpenPage) -> None:
    page = browser_page(live, "owner")
    page.goto("/search/collections/")
    if not page.get_by_label("Name").is_visible():  # other tests of this process made collections: the form is folded away
        page.get_by_text("New collection").click()
    page.get_by_label("Name").fill("Animals and machines")
    page.get_by_role("button", name="Create").click()
    page.wait_for_url("**/search/collections/*/")
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
    page.locator("[data-testid=search-result] h3 a", has_text="engines.md").click()
    page.wait_for_url("**#passage")
    assert "<img src=x" in page.locator("#passage").inner_text()
    assert accessibility_violations(page) == []

    page.goto("/search/?q=kittens")
    page.get_by_role("button", name="Ask about these").click()
    page.wait_for_url("**/chat/**")
    assert "Kittens play with wool." in page.get_by_test_id("chat-input").input_value()


def test_the_search_page_is_accessible_on_a_dark_phone(live: Live, browser_page: OpenPage) -> None:
    page = browser_page(live, "other", width=390, dark=True)
    for path in ("/search/", "/search/collections/"):
        page.goto(path)
        assert accessibility_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
