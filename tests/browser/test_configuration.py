"""The configuration in a real browser: reachable by keyboard, at 390 px, without complaints of the content security policy or of axe."""

from __future__ import annotations

import pytest

from tests.live import Live, OpenPage, accessibility_violations

pytestmark = pytest.mark.browser
LONG = """
from django.utils import timezone
from webapp.accounts.models import User
from webapp.backends.models import Attempt
word = "an_organisation/" + "a_name_that_never_ends_" * 4
user, _ = User.objects.get_or_create(username=word[:150])
for number in range(3):
    Attempt.objects.create(
        created_at=timezone.now(), user=user, source="chat", route=word, backend=word[:60], model=f"{word}{number}", outcome="failed",
        error="insufficient_quota", prompt_tokens=10**9, completion_tokens=10**9, duration_ms=10**7,
    )
"""
WIDE = """[...document.querySelectorAll('body *')]
    .filter((each) => each.getBoundingClientRect().right > innerWidth && !each.closest('.scroll-x, svg'))
    .map((each) => each.outerHTML.slice(0, 200))"""
PAGES = [
    "/backends/",
    "/usage/",
    "/admin/",
    "/admin/backends/backend/",
    "/admin/backends/backend/add/?preset=openai",
    "/admin/backends/backend/paste/",
    "/routes/new/",
    "/admin/backends/attempt/",
    "/admin/backends/benchmarkrun/add/",
    "/admin/accounts/user/",
    "/admin/accounts/user/add/",
]


@pytest.mark.parametrize(("width", "dark"), [pytest.param(1440, False, marks=pytest.mark.slow), (390, True)])
def test_every_page_is_accessible_and_fits(live: Live, browser_page: OpenPage, width: int, dark: bool) -> None:
    live.run_python(LONG)
    page = browser_page(live, "administrator", width=width, dark=dark)
    for path in PAGES:
        page.goto(path)
        assert accessibility_violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, page.evaluate(WIDE))


def test_what_a_person_opened_stays_open_while_the_page_refreshes(live: Live, browser_page: OpenPage) -> None:
    page = browser_page(live, "administrator")
    page.goto("/backends/")
    models = page.locator("#backends-head ~ * details").last
    models.locator("summary").click()
    with page.expect_response(lambda response: response.url.endswith("/backends/")) as refreshed:
        pass
    assert refreshed.value.ok
    page.wait_for_timeout(200)
    assert models.evaluate("element => element.open")
