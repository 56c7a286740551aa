"""A long list of documents and the results of a search, as a person uses them: by mouse, and by keyboard alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.browser.test_search import create_collection
from tests.live import Live, OpenPage, accessibility_violations

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PATIENCE = 60_000


def add_ready_documents(live: Live, collection: str, count: int) -> None:
    """Add rows without files to a collection of the owner, as if they had been read."""
    live.run_python(
        "from search.models import Collection, Document;"
        f"made = Collection.objects.get(name={collection!r});"
        "Document.objects.bulk_create([Document(collection=made, name=f'{number:03}.md', kind='markdown', state='ready')"
        f" for number in range({count})])"
    )


def rows(page: Page) -> int:
    return page.get_by_test_id("document-row").count()


def test_an_upload_of_many_files_shows_its_progress_and_its_failures_first(live: Live, browser_page: OpenPage) -> None:
    page = browser_page(live, "owner")
    create_collection(page, "Many files")
    files: list[FilePayload] = [
        {"name": f"note-{number:02}.md", "mimeType": "text/markdown", "buffer": f"# Note {number}\n\nText {number}.".encode()}
        for number in range(28)
    ]
    files += [{"name": f"empty-{number}.md", "mimeType": "text/markdown", "buffer": b" " * (number + 1)} for number in range(2)]
    page.get_by_test_id("document-upload").set_input_files(files)
    progress = page.get_by_test_id("upload-progress")
    expect(progress).to_contain_text("of 30 read", timeout=PATIENCE)
    page.reload()
    expect(progress).to_have_text("28 of 30 read, 2 failed", timeout=PATIENCE * 2)
    expect(page.get_by_test_id("document-row").first).to_have_attribute("data-status", "failed")
    expect(page.get_by_role("button", name="Retry empty-0.md")).to_be_visible()
    assert accessibility_violations(page) == []
    page.get_by_role("button", name="Hide the upload of 30 files").click()
    expect(progress).to_have_count(0)


def test_documents_are_filtered_selected_and_deleted_after_a_question(live: Live, browser_page: OpenPage) -> None:
    page = browser_page(live, "owner")
    create_collection(page, "Long list")
    address = page.url
    add_ready_documents(live, "Long list", 150)
    page.goto(address)
    assert rows(page) == 100
    page.get_by_role("link", name="Next").click()
    page.wait_for_url("**after=**")
    assert rows(page) == 50
    page.goto(address)
    page.get_by_label("Name contains").fill("14")
    expect(page.get_by_test_id("document-row")).to_have_count(12)  # 014, 114, and 140 to 149
    page.wait_for_url("**name=14")
    page.get_by_label("Select 114.md").check()
    page.get_by_placeholder("Tag").fill("keep")
    page.get_by_placeholder("Tag").press("Enter")
    expect(page.get_by_text("1 document is tagged “keep”")).to_be_visible()
    page.get_by_label("Select all on this page").check()
    expect(page.get_by_text("12 documents selected")).to_be_visible()
    page.get_by_role("button", name="Delete", exact=True).first.click()
    question = page.get_by_role("alertdialog")
    expect(question).to_contain_text("Delete 12 documents?")
    question.get_by_role("button", name="Go back").click()
    assert rows(page) == 12
    page.get_by_role("button", name="Delete", exact=True).first.click()
    question.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No document matches")).to_be_visible()
    page.get_by_role("link", name="Show all documents").click()
    expect(page.get_by_role("link", name="All 138")).to_be_visible()
    page.get_by_label("All 138").check()
    expect(page.get_by_text("138 documents selected")).to_be_visible()
    assert accessibility_violations(page) == []


def test_results_are_opened_by_keys_alone(live: Live, browser_page: OpenPage) -> None:
    page = browser_page(live, "owner")
    create_collection(page, "Keys")
    files: list[FilePayload] = [
        {"name": f"{word}.md", "mimeType": "text/markdown", "buffer": f"# {word}\n\nThe periwinkle {word}.".encode()}
        for word in ("alpha", "beta", "gamma")
    ]
    page.get_by_test_id("document-upload").set_input_files(files)
    expect(page.locator("[data-testid=document-row][data-status=ready]")).to_have_count(3, timeout=PATIENCE)
    page.goto("/search/?q=periwinkle&mode=keyword")
    page.locator("h1").click()
    page.keyboard.press("/")
    expect(page.get_by_test_id("search-input")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#result-1 [data-result]")).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    second = page.locator("#result-2 [data-result]")
    expect(second).to_be_focused()
    name = second.inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url("**/documents/**")
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def test_a_failed_search_says_so_and_may_be_repeated(live: Live, browser_page: OpenPage) -> None:
    page = browser_page(live, "owner")
    page.goto("/search/?q=anything")
    failure = page.locator("#search-error")
    expect(failure).to_be_hidden()
    page.route("**/search/?q=other**", lambda route: route.fulfill(status=503, body="<h1>The database is not answering</h1>"))
    page.get_by_test_id("search-input").fill("other")
    expect(failure).to_be_visible()
    assert "database" not in page.locator("#results").inner_text()
    page.unroute("**/search/?q=other**")
    page.get_by_role("button", name="Try again").click()
    expect(failure).to_be_hidden()
    page.wait_for_url("**/search/?q=other")
    page.complaints.clear()  # type: ignore[attr-defined]  # the browser reports the status
