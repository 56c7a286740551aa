"""Faults as a person at a browser meets them."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.faults.network import cable
from tests.faults.sockets import serve
from tests.live import Live, OpenPage
from tests.upstream import Upstream, chunk, says, stream

pytestmark = pytest.mark.browser
WORDS = [f"word{number}" for number in range(200)]
PAYLOAD = (
    "![x](https://evil.example/?q=1) ![y][ref] <img src=https://evil.example/2 onerror=alert(1)> "
    '<script src="https://evil.example/3"></script> [a](javascript:alert(1)) <svg/onload=alert(1)>\n\n[ref]: https://evil.example/4\n'
)
WATCH = """() => {
    const bad = 'img, script, svg, iframe, [onerror], [onload], a[href^="javascript"]';
    window.seen = [];
    new MutationObserver(() => document.querySelectorAll('[data-testid="message-text"]').forEach(
        text => text.querySelectorAll(bad).forEach(found => window.seen.push(found.outerHTML)))
    ).observe(document.body, {childList: true, subtree: true, attributes: true, characterData: true});
}"""


@pytest.fixture
def route(live: Live, make_upstream: Callable[..., Upstream]) -> Upstream:
    """An upstream that the server's `default` route asks first, and alone."""
    upstream = make_upstream()
    serve(live, upstream, "default")
    return upstream


def ask(page: Page, text: str = "Go") -> None:
    page.get_by_test_id("chat-input").fill(text)
    page.get_by_test_id("chat-send").click()


def answer_words(page: Page) -> list[str]:
    return page.get_by_test_id("message-text").last.inner_text().split()


def until_done(page: Page, seconds: float = 30) -> None:
    expect(page.get_by_test_id("message-assistant").last).to_have_attribute("data-status", "done", timeout=seconds * 1000)


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_a_network_that_goes_away_costs_nothing(live: Live, route: Upstream, browser_page: OpenPage, seconds: int) -> None:
    """FAULTS 25: the page comes back by itself, with every word once. After 2 s the answer still runs, after 60 s it has long ended."""
    route.default = says(" ".join(WORDS), pace=0.03)
    with cable(live.port) as network:
        page = browser_page(dataclasses.replace(live, port=network.port))
        page.goto("/chat/")
        ask(page)
        expect(page.get_by_test_id("message-text").last).to_contain_text("word3 ")
        network.cut()
        before = answer_words(page)
        time.sleep(seconds)
        assert len(answer_words(page)) <= len(before) + 5, "the network was not away"
        network.mend()
        until_done(page, seconds=60)
        assert answer_words(page) == WORDS
        assert page.get_by_test_id("message-user").count() == 1
        page.complaints.clear()  # type: ignore[attr-defined]  # refused connections while the network was away


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_reloads_lose_and_double_nothing(live: Live, route: Upstream, browser_page: OpenPage) -> None:
    """FAULTS 24: at random tokens; tests/browser/test_chat.py has a few of them for every day."""
    route.default = says(" ".join(WORDS), pace=0.05)
    page = browser_page(live)
    reloads = 0
    while reloads < 200:
        page.goto("/chat/")
        ask(page)
        expect(page.get_by_test_id("message-text").last).to_contain_text("word3 ")
        while page.get_by_test_id("message-assistant").last.get_attribute("data-status") == "streaming":
            page.wait_for_timeout(random.uniform(0, 200))
            page.reload()
            reloads += 1
        until_done(page)
        assert answer_words(page) == WORDS


@pytest.mark.parametrize("size", [1, 7])
def test_a_payload_in_pieces_is_inert_at_every_step(live: Live, route: Upstream, browser_page: OpenPage, size: int) -> None:
    """FAULTS 3, 6: whatever the pieces, no element that loads or runs is ever in the page, and no request leaves it."""
    pieces = [chunk({"content": PAYLOAD[start : start + size]}) for start in range(0, len(PAYLOAD), size)]
    paced = [part for piece in pieces for part in (piece, 0.005 * size)]
    route.default = stream(*paced, chunk(finish="stop"), "data: [DONE]\n\n")
    page = browser_page(live)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto("/chat/")
    page.evaluate(WATCH)
    ask(page)
    until_done(page)
    assert page.evaluate("window.seen") == []
    assert [url for url in requests if "evil" in url] == []
    assert "<script src=" in page.get_by_test_id("message-text").last.inner_text()
    assert page.get_by_test_id("message-text").last.locator('a[href*="evil.example"]').count() >= 1
