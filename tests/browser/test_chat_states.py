"""Every state of the chat, looked at by axe-core in both schemes, on a desk and on a phone; nothing is wider than its screen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.test_chat import RICH, add_route, answer, ask
from tests.live import Live, OpenPage, accessibility_violations
from tests.upstream import STALL, Upstream, chunk, says, status, stream

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(400)]

CALLS = 20
SCHEMA = '{"type": "object", "required": ["city"]}'
VALUE = '{"city": "Bern", "rivers": [{"name": "Aare", "km": 288}, {"name": "a river with a name that is rather long", "km": 12}]}'
PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cf00000301010018dd8db00000000049454e44ae426082"
)


def look(page: Page, state: str) -> None:
    """Check the rules that every state follows."""
    if state != "shared":
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight"), state
    assert accessibility_violations(page) == [], state
    page.evaluate(
        "document.querySelectorAll('[style=\"\"]').forEach((each) => each.removeAttribute('style'))"
    )  # axe leaves them, htmx copies
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), state
    tall = page.evaluate("[...document.querySelectorAll('.chat-foot, .chat-head')].map(e => e.scrollWidth <= e.clientWidth)")
    assert all(tall), state


class Chat:
    """A page, and the upstream that answers in it."""

    def __init__(self, page: Page, upstream: Upstream) -> None:
        self.page, self.upstream = page, upstream

    def asked(self, text: str, *replies: object, state: str = "done") -> None:
        self.upstream.script(*replies)  # type: ignore[arg-type]  # replies of tests.upstream
        ask(self.page, text)
        answer(self.page, state)
        self.page.wait_for_timeout(150)

    def fresh(self) -> None:
        self.page.goto("/chat/")
        expect(self.page.get_by_test_id("context-meter")).to_contain_text("tokens")

    def menu(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()

    def last(self) -> Locator:
        return self.page.get_by_test_id("message-assistant").last


def empty_and_lists(chat: Chat) -> None:
    chat.fresh()
    look(chat.page, "empty")
    chat.page.keyboard.press("Control+k")
    expect(chat.page.get_by_role("option", name="Batches")).to_be_visible()
    look(chat.page, "palette")
    chat.page.keyboard.press("Escape")
    chat.page.get_by_test_id("chat-input").press_sequentially("/")
    expect(chat.page.get_by_role("option", name="/new")).to_be_visible()
    look(chat.page, "slash")
    chat.page.get_by_test_id("chat-input").fill("")


def answers(chat: Chat) -> None:
    calls = [("calculator", f'{{"expression": "{number} * {number}"}}') for number in range(CALLS)]
    chat.asked("Squares of twenty numbers, please", says("Let me see.", reasoning="One by one.", tool_calls=calls), says("Done: **400**."))
    cards = chat.last().get_by_test_id("tool-call")
    expect(cards).to_have_count(CALLS)
    for card in (cards.first, cards.last):
        card.locator("summary").click()
        expect(card).to_contain_text("Result")
    look(chat.page, "twenty tools")
    chat.asked("Everything that Markdown has", says(RICH, reasoning="Thinking of it."))
    chat.last().get_by_test_id("attempt-trail").locator("summary").click()
    chat.page.get_by_text("Thought for").last.click()
    look(chat.page, "rich")


def streaming_and_stop(chat: Chat) -> None:
    chat.upstream.script(stream(chunk({"role": "assistant", "content": "It begins with words "}), STALL))
    ask(chat.page, "Go on slowly")
    expect(chat.last()).to_contain_text("It begins")
    look(chat.page, "streaming")
    chat.page.get_by_test_id("chat-stop").click()
    answer(chat.page, "stopped")
    look(chat.page, "stopped")


def failure_and_branches(chat: Chat) -> None:
    chat.asked("Fail", status(400), state="failed")
    look(chat.page, "error")
    chat.upstream.script(says("A second try."))
    chat.menu("Try again")
    answer(chat.page)
    expect(chat.page.get_by_text("2/2")).to_be_visible()
    look(chat.page, "branches")
    chat.page.get_by_role("button", name="Edit the message").last.click()
    expect(chat.page.get_by_label("Edit message")).to_be_visible()
    look(chat.page, "editing")
    chat.page.get_by_role("button", name="Cancel").click()


def files(chat: Chat) -> None:
    chosen = [
        {"name": "a picture of something with a long name.png", "mimeType": "image/png", "buffer": PICTURE},
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"The zebra is striped."},
        {"name": "nothing.bin", "mimeType": "application/octet-stream", "buffer": b"\0\1\2"},
    ]
    chat.page.locator("#chat-file").set_input_files(chosen)  # type: ignore[arg-type]  # a list of dicts is what it takes
    expect(chat.page.locator("#chat-chips .chip")).to_have_count(3)
    look(chat.page, "attachments chosen")
    chat.asked("What is in them?", says("A zebra."))
    look(chat.page, "attachments sent")


def settings_and_schema(chat: Chat) -> None:
    chat.menu("Conversation settings")
    chat.page.get_by_label("JSON schema of the answer").fill(SCHEMA)
    look(chat.page, "settings")
    chat.menu("Save")
    expect(chat.page.get_by_text("Saved.")).to_be_visible()
    chat.page.keyboard.press("Escape")
    chat.asked("Which city?", says(VALUE))
    chat.page.get_by_test_id("json-answer").get_by_text("Table", exact=True).click()
    look(chat.page, "schema")


def menu_and_share(chat: Chat) -> None:
    chat.menu("More actions")
    look(chat.page, "menu")
    chat.menu("Share link")
    link = chat.page.get_by_role("link", name="The shared page")
    expect(link).to_be_visible()
    chat.page.goto(link.get_attribute("href") or "")
    look(chat.page, "shared")


def side_by_side(chat: Chat) -> None:
    chat.fresh()
    chat.upstream.default = says("An answer of **one** of them.\n\n```python\nprint('with some code in it that is quite long')\n```")
    chat.menu("Compare")
    chat.page.get_by_role("checkbox", name=f"up{chat.upstream.port}/m").check()
    look(chat.page, "choosing whom to compare")
    chat.page.keyboard.press("Escape")
    ask(chat.page, "Which is better?")
    expect(chat.page.get_by_test_id("compare").locator("[data-status=done]")).to_have_count(2)
    look(chat.page, "compare")


def sidebar(chat: Chat) -> None:
    toggle = chat.page.get_by_role("button", name="Conversations")
    if toggle.is_visible():
        toggle.click()
    expect(chat.page.get_by_test_id("conversation-list")).to_be_visible()
    look(chat.page, "sidebar")


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (1440, True), (390, False), (390, True)])
def test_every_state_is_accessible_and_fits(
    live: Live, make_upstream: Callable[..., Upstream], browser_page: OpenPage, width: int, dark: bool
) -> None:
    upstream = make_upstream()
    add_route(live, upstream)
    page = browser_page(live, width=width, dark=dark)
    chat = Chat(page, upstream)
    for state in (empty_and_lists, answers, streaming_and_stop, failure_and_branches, files, settings_and_schema, menu_and_share):
        state(chat)
    side_by_side(chat)
    sidebar(chat)
