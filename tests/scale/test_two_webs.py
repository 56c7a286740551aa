"""Two web processes are one product."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.live import Live, OpenPage
from tests.upstream import Upstream, tokens

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis]
MakeUpstream = Callable[..., Upstream]


def connect(live: Live, upstream: Upstream) -> None:
    """Have the default route answer from `upstream`."""
    assert live.manage("add_backend", "--name", "slow", "--base-url", upstream.base_url).returncode == 0
    assert live.manage("add_route", "--name", "default", "--step", "slow/m").returncode == 0


def test_a_session_of_one_is_a_session_of_the_other(two_webs: tuple[Live, Live]) -> None:
    first, second = two_webs
    client = first.sign_in("owner")
    assert client.get(f"{second.url}/accounts/profile/").status_code == 200


@pytest.mark.browser
def test_a_chat_begun_on_one_is_watched_and_stopped_from_the_other(
    two_webs: tuple[Live, Live], make_upstream: MakeUpstream, browser_page: OpenPage
) -> None:
    """The stream lives in A; B shows it as it grows, and B's Stop closes the upstream within a second."""
    first, second = two_webs
    upstream = make_upstream()
    upstream.default = tokens(2000, pace=0.03)
    connect(first, upstream)
    here = browser_page(first, "owner")
    here.goto("/chat/")
    here.get_by_test_id("chat-input").fill("Count")
    here.get_by_test_id("chat-send").click()
    here.get_by_test_id("message-text").nth(1).wait_for()
    here.wait_for_url(re.compile(r"/chat/[0-9a-f-]{36}/"))
    there = browser_page(second, "owner")
    there.goto(here.url.replace(first.url, second.url))
    answer = there.get_by_test_id("message-assistant")
    before = len(answer.inner_text())
    time.sleep(1.5)
    assert len(answer.inner_text()) > before
    there.get_by_test_id("chat-stop").click()
    stopped = time.monotonic()
    received = next(request for request in upstream.requests if request.path.endswith("/chat/completions") and request.streams)
    assert received.gone.wait(5)
    assert received.gone_at is not None
    assert received.gone_at - stopped < 1.5
    for page in (here, there):
        expect(page.get_by_test_id("message-assistant")).to_have_attribute("data-status", "stopped")
    assert here.get_by_test_id("message-text").nth(1).inner_text() == there.get_by_test_id("message-text").nth(1).inner_text()
