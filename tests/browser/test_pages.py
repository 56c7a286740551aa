"""Behavior that many pages share: questions before deletion, keys in forms, small screens, print."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_chat import add_route, answer, ask
from tests.live import Live, OpenPage, accessibility_violations
from tests.upstream import Upstream, endless, says

pytestmark = pytest.mark.browser

MAKE_BATCH = """
from batches.models import Batch
from webapp.accounts.models import User
from django.utils import timezone
import uuid
Batch.objects.create(
    user=User.objects.get(username="owner"), name="Old", status="completed", input_id=uuid.uuid4(), expires_at=timezone.now()
)
"""


@pytest.fixture
def upstream(live: Live, make_upstream: Callable[..., Upstream]) -> Upstream:
    """An upstream behind the route `default`."""
    made = make_upstream()
    add_route(live, made)
    return made


def started(page: Page) -> None:
    expect(page.get_by_test_id("message-assistant").last).to_have_attribute("data-status", "streaming")


def test_deleting_a_batch_asks_first(live: Live, browser_page: OpenPage) -> None:
    live.run_python(MAKE_BATCH)
    page = browser_page(live)
    page.goto("/batches/")
    page.get_by_role("link", name="Old").click()
    question = page.get_by_role("alertdialog")
    page.get_by_role("button", name="Delete").click()
    expect(question).to_contain_text("Delete this batch")
    expect(question.get_by_role("button", name="Go back")).to_be_focused()
    assert accessibility_violations(page) == []
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    page.get_by_role("button", name="Delete").click()
    question.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/batches/")
    expect(page.get_by_role("link", name="Old")).to_have_count(0)


def test_deleting_an_answer_asks_in_the_same_dialog(live: Live, upstream: Upstream, browser_page: OpenPage) -> None:
    upstream.default = says("Hello.")
    page = browser_page(live)
    page.goto("/chat/")
    ask(page, "Hi")
    answer(page)
    page.get_by_role("button", name="Delete from here").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Go back").click()
    expect(page.get_by_test_id("message-assistant")).to_have_count(1)
    page.get_by_role("button", name="Delete from here").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Delete from here").click()
    expect(page.get_by_test_id("message-assistant")).to_have_count(0)


def test_the_edit_box_knows_escape_and_control_enter(live: Live, upstream: Upstream, browser_page: OpenPage) -> None:
    upstream.default = says("Hello.")
    page = browser_page(live)
    page.goto("/chat/")
    ask(page, "First")
    answer(page)
    page.get_by_role("button", name="Edit the message").click()
    page.get_by_label("Edit message").press("Escape")
    expect(page.get_by_label("Edit message")).to_have_count(0)
    page.get_by_role("button", name="Edit the message").click()
    page.get_by_label("Edit message").fill("Second")
    page.get_by_label("Edit message").press("Control+Enter")
    expect(page.get_by_test_id("message-user")).to_contain_text("Second")
    answer(page)


def test_a_reader_who_scrolled_up_gets_back_to_the_newest_text(live: Live, upstream: Upstream, browser_page: OpenPage) -> None:
    upstream.default = endless(pace=0.01)
    page = browser_page(live, height=500)
    page.goto("/chat/")
    ask(page, "Go")
    started(page)
    expect(page.get_by_test_id("message-assistant")).to_contain_text(re.compile(r".{2500}", re.DOTALL))
    newest = page.get_by_role("button", name="Jump to newest")
    expect(newest).to_be_hidden()
    page.locator("#chat-scroll").hover()
    page.mouse.wheel(0, -150)
    expect(newest).to_be_visible()
    newest.click()
    expect(newest).to_be_hidden()
    page.get_by_test_id("chat-stop").click()
    answer(page, "stopped")


def test_on_a_phone_enter_makes_a_line_and_new_chat_is_at_hand(live: Live, browser_page: OpenPage) -> None:
    page = browser_page(live, width=390, height=844)
    page.goto("/chat/")
    box = page.get_by_test_id("chat-input")
    box.press_sequentially("one")
    box.press("Enter")
    box.press_sequentially("two")
    expect(box).to_have_value("one\ntwo")
    assert box.evaluate("box => getComputedStyle(box).fontSize") == "16px"
    expect(page.locator(".chat-head").get_by_role("link", name="New chat")).to_be_visible()


def test_at_four_hundred_percent_the_log_can_be_read(live: Live, upstream: Upstream, browser_page: OpenPage) -> None:
    """WCAG 1.4.10: 1280 by 1024 at 400 % is 320 by 256."""
    upstream.default = says("Hello.")
    page = browser_page(live)
    page.goto("/chat/")
    ask(page, "Hi")
    answer(page)
    page.set_viewport_size({"width": 320, "height": 256})
    assert page.locator("#chat-scroll").evaluate("log => log.clientHeight") >= 100
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_print_shows_the_conversation_and_no_controls(live: Live, upstream: Upstream, browser_page: OpenPage) -> None:
    upstream.default = says("Hello on paper.")
    page = browser_page(live)
    page.goto("/chat/")
    ask(page, "Hi")
    answer(page)
    page.emulate_media(media="print")
    expect(page.get_by_text("Hello on paper.")).to_be_visible()
    for name in ("New chat", "Send", "Edit the message"):
        expect(page.get_by_role("button", name=name)).to_be_hidden()
    expect(page.get_by_role("navigation", name="Main")).to_be_hidden()


PASTE = """(withText) => {
    const data = new DataTransfer();
    if (withText) data.setData("text/plain", "a\\tb");
    data.items.add(new File(["A zebra."], "notes.txt", { type: "text/plain" }));
    const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
    return document.getElementById("chat-input").dispatchEvent(event);
}"""


def test_a_spreadsheets_cells_are_pasted_as_text_and_a_file_is_attached(live: Live, browser_page: OpenPage) -> None:
    page = browser_page(live)
    page.goto("/chat/")
    left_to_the_browser = page.evaluate(PASTE, True)
    assert left_to_the_browser
    attached = not page.evaluate(PASTE, False)
    assert attached
    expect(page.locator("#chat-chips .chip")).to_have_count(1)


def test_the_legend_says_what_fills_the_context_window(live: Live, upstream: Upstream, browser_page: OpenPage) -> None:
    page = browser_page(live)
    page.goto("/chat/")
    meter = page.get_by_test_id("context-meter")
    meter.get_by_role("button", name=re.compile("token")).click()
    expect(page.get_by_text("Reserved for the answer")).to_be_visible()
    assert accessibility_violations(page) == []
