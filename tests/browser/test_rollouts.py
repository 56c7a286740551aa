"""The page of a rollout in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.live import Live, OpenPage, accessibility_violations

pytestmark = pytest.mark.browser
CANARY = """
from webapp.backends import services
from webapp.backends.models import Backend
old = services.add_backend(name="promoted-old", base_url="http://127.0.0.1:9/v1")
route = services.set_route(name="promoted", steps=[(old, "m")])
builtin = Backend.objects.get(name="builtin")
print(services.start_rollout(route=route, kind="canary", backend=builtin, model="patchbay-builtin", percent=10).pk)
"""


def test_promoting_a_canary_asks_first_and_shows_the_new_first_step(live: Live, browser_page: OpenPage) -> None:
    pk = live.run_python(CANARY).strip()
    page = browser_page(live, "administrator", width=390, height=844)
    page.goto(f"/rollouts/{pk}/")
    assert accessibility_violations(page) == []
    page.get_by_test_id("promote").click()
    dialog = page.get_by_role("alertdialog")
    expect(dialog).to_contain_text("Make builtin/patchbay-builtin the first step of promoted?")
    dialog.get_by_role("button", name="Go back").click()
    expect(page.get_by_text("Running", exact=True)).to_be_visible()
    page.get_by_test_id("promote").click()
    dialog.get_by_role("button", name="Promote").click()
    expect(page.get_by_text("builtin/patchbay-builtin is now the first step of promoted.")).to_be_visible()
    expect(page.get_by_test_id("promote")).to_have_count(0)
    assert accessibility_violations(page) == []
