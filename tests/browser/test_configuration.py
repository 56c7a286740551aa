"""The configuration in a real browser: reachable by keyboard, at 390 px, without complaints of the content security policy or of axe."""

from __future__ import annotations

import pytest

from tests.live import Live, OpenPage, accessibility_violations

pytestmark = pytest.mark.browser
ROUTE = """
from webapp.backends import services
from webapp.backends.models import Backend, Route
services.add_backend(name="first", base_url="http://127.0.0.1:9/v1")
builtin = Backend.objects.get(name="builtin")
route = services.set_route(name="NAME", steps=[(Backend.objects.get(name="first"), "m"), (builtin, "patchbay-builtin")])
print(route.pk)
"""
STEPS = "from webapp.backends.models import Route; print([str(step) for step in Route.objects.get(name='NAME').steps.all()])"
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
    "/admin/backends/route/add/",
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


def test_steps_are_reordered_by_keyboard_by_button_and_by_drag(live: Live, browser_page: OpenPage) -> None:
    pk = live.run_python(ROUTE.replace("NAME", "ordered")).strip()
    page = browser_page(live, "administrator")
    for move in ("keyboard", "button", "drag"):
        page.goto(f"/admin/backends/route/{pk}/change/")
        before = page.locator("tr.has_original [name$=-model]").evaluate_all("fields => fields.map(field => field.value)")
        if move == "keyboard":
            page.locator("tr.has_original [name$=-model]").nth(1).press("Alt+ArrowUp")
        elif move == "button":
            page.get_by_role("button", name="Move this step up").nth(1).click()
        else:
            page.locator(".steps-handle").nth(1).drag_to(page.locator("tr.has_original").first, target_position={"x": 20, "y": 2})
        page.get_by_role("button", name="Save", exact=True).click()
        page.wait_for_url("**/admin/backends/route/")
        after = live.run_python(STEPS.replace("NAME", "ordered"))
        assert [after.index(model) for model in reversed(before)] == sorted(after.index(model) for model in before), move


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


def test_the_fire_drill_answers_as_conditions_change(live: Live, browser_page: OpenPage) -> None:
    pk = live.run_python(ROUTE.replace("NAME", "drilled")).strip()
    page = browser_page(live, "administrator")
    page.goto(f"/admin/backends/route/{pk}/change/")
    page.get_by_label("first", exact=True).select_option("down")
    page.get_by_text("builtin/patchbay-builtin would answer").wait_for()
