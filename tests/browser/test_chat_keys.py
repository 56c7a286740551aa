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
