"""The chat by keyboard alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.live import Live, OpenPage, accessibility_violations

pytestmark = pytest.mark.browser


def test_the_palette_goes_places_and_acts_by_keyboard_alone(live: Live, browser_page: OpenPage) -> None:
    page = browser_page(live)
    page.goto("/chat/")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("option", name="Batches")).to_be_visible()
    assert accessibility_violations(page) == []
    page.keyboard.type("choose model")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("route-picker")).to_be_focused()
    page.keyboard.press("Control+k")
    page.keyboard.type("batch")
    page.keyboard.press("Enter")
    page.wait_for_url("**/batches/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    assert accessibility_violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("option", name="Choose the model")).to_be_hidden()


def test_a_slash_lists_commands_and_fills_prompts_in(live: Live, browser_page: OpenPage) -> None:
    client = live.sign_in("owner")
    page_of_prompts = {"name": "greet", "text": "Greet {{who}}\nwarmly.", "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    assert client.post("/chat/prompts/", data=page_of_prompts, headers={"Referer": live.url}).status_code == 302
    page = browser_page(live, width=390)
    page.goto("/chat/")
    page.get_by_test_id("chat-input").press_sequentially("/")
    expect(page.get_by_role("option", name="/new")).to_be_visible()
    assert accessibility_violations(page) == []
    page.keyboard.type("gre")
    expect(page.get_by_role("option", name="/new")).to_be_hidden()
    page.keyboard.press("Enter")
    page.get_by_label("who").fill("Ada")
    assert accessibility_violations(page) == []
    page.get_by_role("button", name="Put into the composer").click()
    expect(page.get_by_test_id("chat-input")).to_have_value("Greet Ada\nwarmly.")
    page.get_by_test_id("chat-input").fill("/mod")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("route-picker")).to_be_focused()
