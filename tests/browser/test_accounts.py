"""Set-up, sign-in and sign-out as a person sees them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live import Live, OpenPage, accessibility_violations, copied
from tests.users import PASSWORD

pytestmark = pytest.mark.browser


def test_a_person_signs_in_and_out(live: Live, browser_page: OpenPage) -> None:
    page = browser_page(live, None)
    page.goto("/accounts/profile/")
    page.get_by_test_id("login-username").fill("owner")
    page.get_by_test_id("login-password").fill(PASSWORD)
    assert accessibility_violations(page) == []
    page.get_by_test_id("login-submit").click()
    page.wait_for_url("**/accounts/profile/")
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url("**/accounts/login/")


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
def test_the_profile_is_accessible(live: Live, browser_page: OpenPage, width: int, dark: bool) -> None:
    page = browser_page(live, "owner", width=width, dark=dark)
    page.goto("/accounts/profile/")
    assert accessibility_violations(page) == []


def test_the_printed_link_creates_the_first_account(
    prepared_home: Path, tmp_path_factory: pytest.TempPathFactory, browser_page: OpenPage
) -> None:
    """The set-up link works once; without it nobody can set up."""
    server = Live(copied(prepared_home, tmp_path_factory)).start()
    try:
        page = browser_page(server, None)
        page.goto("/")
        page.get_by_text("Patchbay is not set up yet").wait_for()
        link = server.output().split("Create the first account: ")[1].split()[0]
        page.goto(link)
        page.get_by_label("Username").fill("ada")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("Password confirmation").fill(PASSWORD)
        page.get_by_role("button", name="Create account").click()
        page.wait_for_url("**/backends/connect/")
        page.get_by_role("link", name="Start with the built-in model").click()
        page.wait_for_url("**/chat/**")
        page.goto(link)
        page.wait_for_url("**/accounts/login/**")
    finally:
        server.stop()


def test_a_server_stops_within_five_seconds(new_live: Callable[..., Live]) -> None:
    server = new_live()
    assert server.stop() == 0
