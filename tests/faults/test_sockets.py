"""Chats of a real server under hostile or unlucky clients, at the level of the socket."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator

import pytest

from tests.faults.sockets import Socket, apart_from_titles, asked, attached, handshake, serve
from tests.live import Live
from tests.upstream import STALL, Received, Upstream, chunk, endless, says, stream

ROUTE = "faults"


@pytest.fixture(scope="module")
def shared() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.stop(wait=False)


@pytest.fixture(scope="module")
def headers(live: Live, shared: Upstream) -> dict[str, str]:
    """The owner's; the route `faults` leads to the shared upstream."""
    serve(live, shared, ROUTE)
    return handshake(live, "owner")


def send(socket: Socket, text: str) -> None:
    socket.say("send", text=text, model=ROUTE)


def test_of_two_tabs_that_send_at_once_one_is_answered_and_the_other_told(live: Live, shared: Upstream, headers: dict[str, str]) -> None:
    """FAULTS 28."""
    shared.default = says("one two three four five six seven eight", pace=0.1)
    chat = uuid.uuid4()
    with attached(live, headers, chat) as one, attached(live, headers, chat) as two:
        for text, socket in (("From one", one), ("From two", two)):
            send(socket, text)
        for socket in (one, two):
            socket.until('data-status="done"')
        taken = [text for text in ("From one", "From two") if asked(shared, text)]
        assert len(taken) == 1
        assert len(asked(shared, taken[0])) == 1
        loser = two if taken == ["From one"] else one
        told = [frame["content"] for frame in loser.frames if frame["target"] == "#chat-notice" and frame["content"]]
        assert len(told) == 1
        assert "answer" in told[0]


def under_way(shared: Upstream, where: str) -> Received:
    """The request that is open now: the chat's, or that of the tool it called."""
    deadline = time.monotonic() + 15
    while not (asked(shared, f"Go {where}") and (running := shared.requests[-1]) and not running.ended.wait(0.2)):
        assert time.monotonic() < deadline
    return running


@pytest.mark.parametrize("where", ["before the first token", "in mid-text", "in a tool call"])
def test_stop_from_another_tab_closes_the_upstream_within_a_second(
    live: Live, shared: Upstream, headers: dict[str, str], where: str
) -> None:
    """FAULTS 27: wherever it comes; the partial is kept."""
    chat, call = uuid.uuid4(), ("run_benchmark", f'{{"model": "{ROUTE}"}}')
    replies = {
        "before the first token": [stream(STALL)],
        "in mid-text": [endless(pace=0.02)],
        "in a tool call": [says("Let me see.", tool_calls=[call]), stream(chunk({"role": "assistant"}), STALL)],
    }[where]
    shared.default = apart_from_titles(*replies)
    with attached(live, headers, chat) as one, attached(live, headers, chat) as two:
        send(one, f"Go {where}")
        two.until("more more" if where == "in mid-text" else 'data-status="streaming"')
        if where == "in a tool call":  # the benchmark asks before it sends requests
            one.until('name="call"')
            asked_for = re.search(r'name="call" value="([^"]+)"', one.frames[-1]["content"])
            assert asked_for
            one.say("approve", call=asked_for[1], yes="1")
        running = under_way(shared, where)
        two.say("stop")
        pressed = time.monotonic()
        assert running.gone.wait(5)
        assert running.gone_at is not None
        assert running.gone_at - pressed < 1
        for socket in (one, two):
            socket.until('data-status="stopped"')
        kept = {"before the first token": "", "in mid-text": "more more", "in a tool call": "Let me see."}[where]
        assert kept in one.frames[-1]["content"]


def test_a_suspended_person_is_out_within_five_seconds(live: Live, shared: Upstream, headers: dict[str, str]) -> None:
    """FAULTS 9: the open socket, the session and the token, of a real process."""
    shared.default = says("Hello")
    token = live.manage("create_token", "--user", "other").stdout.strip()
    client, chat = live.sign_in("other"), uuid.uuid4()
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    suspend = "from webapp.accounts.models import User; User.objects.filter(username='other').update(is_active={})"
    bearer = {"Authorization": f"Bearer {token}"}
    with attached(live, {"Cookie": cookies}, chat) as socket:
        send(socket, "Hi")
        socket.until('data-status="done"')
        assert client.get("/v1/models", headers=bearer).status_code == 200
        try:
            live.run_python(suspend.format(False))
            suspended = time.monotonic()
            assert socket.until_closed(5) != 1000
            assert client.get("/chat/").status_code == 302
            while client.get("/v1/models", headers=bearer).status_code == 200:
                assert time.monotonic() - suspended < 5
                time.sleep(0.1)
        finally:
            live.run_python(suspend.format(True))
