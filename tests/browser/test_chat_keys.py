"""The chat by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.test_chat import add_route, answer, ask
from tests.live import Live, OpenPage, accessibility_violations
from tests.upstream import Upstream, endless, says

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
    page.get_by_role("button", name="Insert").click()
    expect(page.get_by_test_id("chat-input")).to_have_value("Greet Ada\nwarmly.")
    page.get_by_test_id("chat-input").fill("/mod")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("route-picker")).to_be_focused()


def test_a_conversation_is_dragged_into_a_folder_and_out_of_it(live: Live, browser_page: OpenPage) -> None:
    """The list follows, and still marks the conversation that is open."""
    live.run_python(
        "from chat.models import Conversation; from webapp.accounts.models import User; from django.utils import timezone;"
        "[Conversation.objects.create(user=User.objects.get(username='other'), title=title, folder=folder, updated_at=timezone.now())"
        " for title, folder in (('Tides', ''), ('Moon', 'Sea'))]"
    )
    page = browser_page(live, "other")
    page.goto("/chat/")
    listed = page.get_by_test_id("conversation-list")
    listed.get_by_role("link", name="Tides").click()
    sea = listed.locator("[data-folder=Sea]")
    listed.get_by_role("link", name="Tides").drag_to(sea)
    expect(sea.get_by_role("link", name="Tides")).to_have_attribute("aria-current", "page")
    page.reload()
    sea.get_by_role("link", name="Moon").drag_to(sea.get_by_role("link", name="Tides"))  # where it is already
    sea.get_by_role("link", name="Tides").drag_to(page.get_by_test_id("new-chat"))  # no folder: nothing happens
    expect(sea.get_by_role("link")).to_have_count(2)
    live.run_python("from chat.models import Conversation; Conversation.objects.filter(title='Moon').update(folder='')")
    page.reload()
    sea.get_by_role("link", name="Tides").drag_to(listed.get_by_role("link", name="Moon"))
    expect(listed.locator("[data-folder='']").get_by_role("link")).to_have_count(2)
    expect(sea).to_have_count(0)


def test_a_prompt_is_deleted_after_a_question(live: Live, browser_page: OpenPage) -> None:
    client = live.sign_in("administrator")
    prompt = {"name": "gone", "text": "x", "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    assert client.post("/chat/prompts/", data=prompt, headers={"Referer": live.url}).status_code == 302
    page = browser_page(live, "administrator")
    page.goto("/chat/prompts/")
    page.get_by_role("button", name="Delete /gone").click()
    page.get_by_role("button", name="Cancel").click()
    page.reload()
    page.get_by_role("button", name="Delete /gone").click()
    assert accessibility_violations(page) == []
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("button", name="Delete /gone")).to_have_count(0)


def test_what_was_pressed_and_is_gone_leaves_the_focus_at_the_next_thing(
    live: Live, make_upstream: Callable[..., Upstream], browser_page: OpenPage
) -> None:
    upstream = make_upstream()
    add_route(live, upstream)
    upstream.default = endless(pace=0.05)
    page = browser_page(live)
    page.goto("/chat/")
    composer = page.get_by_test_id("chat-input")
    ask(page, "Go")
    expect(composer).to_be_focused()
    page.get_by_test_id("chat-stop").press("Enter")
    answer(page, "stopped")
    upstream.default = says("Again.")
    expect(composer).to_be_focused()
    page.get_by_role("button", name="Regenerate the answer").press("Enter")
    answer(page)
    expect(composer).to_be_focused()
    edit = page.get_by_role("button", name="Edit the message")
    edit.press("Enter")
    expect(page.get_by_label("Edit message")).to_be_focused()
    page.get_by_role("button", name="Cancel").press("Enter")
    expect(edit).to_be_focused()
    page.keyboard.press("Control+k")
    page.keyboard.type("zz")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(edit).to_be_focused()


def test_an_assistant_is_made_by_keyboard_and_its_starter_asks_the_first_question(live: Live, browser_page: OpenPage) -> None:
    page = browser_page(live, width=390)
    page.goto("/chat/assistants/")
    expect(page.get_by_text("No assistants yet")).to_be_visible()
    page.get_by_role("link", name="New assistant").press("Enter")
    page.get_by_label("Name").fill("Sums")
    page.get_by_label("Model", exact=True).select_option("default")
    page.get_by_label("System prompt").fill("Calculate.")
    page.get_by_label("Starters").fill("What is 17 × 23?")
    assert accessibility_violations(page) == []
    page.get_by_role("button", name="Save").press("Enter")
    assert accessibility_violations(page) == []
    page.get_by_role("link", name="Chat with Sums").press("Enter")
    expect(page.get_by_test_id("assistant-head")).to_have_text("Sums")
    assert accessibility_violations(page) == []
    page.get_by_role("button", name="Conversation settings").press("Enter")
    expect(page.get_by_label("System prompt")).to_have_value("Calculate.")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="What is 17 × 23?").press("Enter")
    expect(page.get_by_test_id("message-assistant")).to_contain_text("391")
    page.reload()
    expect(page.get_by_test_id("route-picker").locator("option:checked")).to_have_text("Sums")
