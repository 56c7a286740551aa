"""The route editor in a real browser: steps by drag, by button, and by keyboard; simulated failures; a test question."""

from __future__ import annotations

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.live import Live, OpenPage, accessibility_violations

pytestmark = pytest.mark.browser
ROUTE = """
from webapp.backends import services
from webapp.backends.models import Backend
services.add_backend(name="first", base_url="http://127.0.0.1:9/v1")
builtin = Backend.objects.get(name="builtin")
print(services.set_route(name="NAME", steps=[(Backend.objects.get(name="first"), "m"), (builtin, "patchbay-builtin")]).pk)
"""


def names(page: Page) -> list[str]:
    """The steps of the page, in their order, as `backend/model`."""
    steps = page.get_by_test_id("route-step").locator(".chain-name").all()
    return ["/".join(step.locator("> *").all_text_contents()) for step in steps]


def test_a_chain_is_built_by_drag_by_button_and_by_keyboard(live: Live, browser_page: OpenPage) -> None:
    live.run_python(ROUTE.replace("NAME", "other"))
    page = browser_page(live, "administrator")
    page.goto("/backends/")
    page.get_by_role("link", name="New route").click()
    page.get_by_test_id("model-choice").filter(has_text="patchbay-builtin").drag_to(page.get_by_test_id("drop-zone"))
    assert names(page) == ["builtin/patchbay-builtin"]
    page.get_by_label("Backend", exact=True).select_option("first")
    page.get_by_label("Find a model").fill("llama")
    page.get_by_role("button", name="Add first/llama").click()
    assert names(page) == ["builtin/patchbay-builtin", "first/llama"]
    steps = page.get_by_test_id("route-step")
    steps.nth(1).locator(".steps-handle").drag_to(steps.first, target_position={"x": 40, "y": 3})
    assert names(page) == ["first/llama", "builtin/patchbay-builtin"]
    steps.first.get_by_role("button", name="Move down").click()
    assert names(page) == ["builtin/patchbay-builtin", "first/llama"]
    steps.nth(1).get_by_label("Simulate: it").press("Alt+ArrowUp")
    assert names(page) == ["first/llama", "builtin/patchbay-builtin"]
    expect(page.get_by_text("Not saved yet")).to_be_visible()
    page.get_by_label("Name").fill("built")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("built is saved.")).to_be_visible()
    assert names(page) == ["first/llama", "builtin/patchbay-builtin"]
    expect(page.get_by_text("Not saved yet")).to_be_hidden()


def test_a_failure_shows_who_takes_over_and_the_test_question_who_was_tried(live: Live, browser_page: OpenPage) -> None:
    pk = live.run_python(ROUTE.replace("NAME", "tried")).strip()
    page = browser_page(live, "administrator")
    page.goto(f"/routes/{pk}/")
    expect(page.get_by_test_id("drill-verdict")).to_contain_text("first/m would answer")
    page.get_by_test_id("route-step").first.get_by_label("Simulate: it").select_option("429")
    expect(page.get_by_test_id("drill-verdict")).to_contain_text("builtin/patchbay-builtin would answer")
    expect(page.get_by_test_id("share").nth(1)).to_contain_text("100 %")
    page.get_by_test_id("test-question").click()
    expect(page.get_by_test_id("trial-verdict")).to_contain_text("builtin/patchbay-builtin answered in")
    expect(page.locator("#trial")).to_contain_text("Rate limit")


def test_leaving_with_unsaved_steps_warns(live: Live, browser_page: OpenPage) -> None:
    pk = live.run_python(ROUTE.replace("NAME", "left")).strip()
    page = browser_page(live, "administrator")
    page.goto(f"/routes/{pk}/")
    page.get_by_test_id("route-step").first.get_by_role("button", name="Move down").click()
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.once("dialog", stay)
    page.get_by_role("link", name="Batches").click(no_wait_after=True)
    assert asked == ["beforeunload"]
    assert page.url.endswith(f"/routes/{pk}/")
    page.get_by_test_id("route-step").first.get_by_role("button", name="Move down").click()
    expect(page.get_by_text("Not saved yet")).to_be_hidden()


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
def test_the_editor_is_accessible_and_fits(live: Live, browser_page: OpenPage, width: int, dark: bool) -> None:
    pk = live.run_python(ROUTE.replace("NAME", "accessible")).strip()
    page = browser_page(live, "administrator", width=width, dark=dark)
    page.goto(f"/routes/{pk}/")
    page.get_by_role("combobox", name="Load sharing").select_option("weighted")
    expect(page.get_by_test_id("share").nth(1)).to_contain_text("50 %")
    assert accessibility_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
