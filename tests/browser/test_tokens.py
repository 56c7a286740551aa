"""The tokens page in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.live import Live, OpenPage, accessibility_violations

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
def test_a_token_is_made_copied_and_revoked(live: Live, browser_page: OpenPage, width: int, dark: bool) -> None:
    page = browser_page(live, "owner", width=width, dark=dark)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/accounts/tokens/")
    page.fill("[name=label]", f"notebook-{width}")
    page.click("[data-testid=token-create]")
    plaintext = page.text_content("[data-testid=token-plaintext]")
    page.click("[data-copy=token-plaintext]")
    expect(page.locator("[data-copy=token-plaintext]")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == plaintext
    page.click("[data-testid=curl-panel] summary")
    assert accessibility_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    row = page.locator("[data-testid=token-row]", has_text=f"notebook-{width}")
    row.get_by_role("button", name="Revoke").first.click()
    row.get_by_test_id("token-revoke").click()
    expect(page.locator("[data-state=revoked]", has_text=f"notebook-{width}")).to_have_count(1)
