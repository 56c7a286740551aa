"""A stop in order: sockets are told, what is under way has its time of grace, and the rest is kept (CONTRACT: within 5 s)."""

from __future__ import annotations

import signal
import threading
import time
import uuid
from collections.abc import Callable

import pytest
import websockets

from tests.faults.sockets import apart_from_titles, attached, handshake, serve, streamed
from tests.live import Live
from tests.upstream import Upstream, endless, says

GOING_AWAY = 1012
WORDS = [f"word{number}" for number in range(20)]
ANSWER = "from chat.models import Message; m = Message.objects.get(role='assistant'); print(m.status, m.text)"


class Stopping:
    """SIGTERM, now; `seconds` is how long the process lived after it."""

    def __init__(self, live: Live) -> None:
        assert live.process
        self.live, self.began = live, time.monotonic()
        self.seconds = 0.0
        live.process.send_signal(signal.SIGTERM)
        self._thread = threading.Thread(target=self._wait)
        self._thread.start()

    def _wait(self) -> None:
        assert self.live.process
        self.live.process.wait(30)
        self.seconds = time.monotonic() - self.began
        self.live.process = None

    def join(self) -> None:
        self._thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_answers_under_way_come_to_their_end(new_live: Callable[..., Live], upstream: Upstream, server: str) -> None:
    """In the chat, whose sockets are closed with 1012 at once, and in the gateway; new connections are refused meanwhile."""
    live = new_live(server=server, PATCHBAY_STOP_GRACE="20")
    upstream.default = apart_from_titles(says(" ".join(WORDS), pace=0.15))
    serve(live, upstream, "slow")
    token, words = live.manage("create_token", "--user", "owner").stdout.strip(), list[str]()
    call = threading.Thread(target=streamed, args=(live, token, "slow", words))
    with attached(live, handshake(live, "owner"), uuid.uuid4()) as socket:
        socket.say("send", text="Go", model="slow")
        socket.until("word1")
        call.start()
        while "word1" not in "".join(words):
            time.sleep(0.05)
        stopping = Stopping(live)
        assert socket.until_closed(2) == GOING_AWAY
    with pytest.raises((OSError, websockets.InvalidHandshake)), attached(live, {}, uuid.uuid4()):
        pass
    call.join()
    stopping.join()
    assert "".join(words).removesuffix("[DONE]").split() == WORDS
    assert words[-1] == "[DONE]"
    assert live.run_python(ANSWER).split() == ["done", *WORDS]
    assert stopping.seconds < 15


@pytest.mark.parametrize("server", ["daphne", pytest.param("uvicorn", marks=pytest.mark.slow)])
def test_what_does_not_come_to_its_end_is_kept_as_interrupted(new_live: Callable[..., Live], upstream: Upstream, server: str) -> None:
    live = new_live(server=server)
    upstream.default = endless(pace=0.02)
    serve(live, upstream, "slow")
    with attached(live, handshake(live, "owner"), uuid.uuid4()) as socket:
        socket.say("send", text="Go", model="slow")
        socket.until("more more")
        stopping = Stopping(live)
        assert socket.until_closed(2) == GOING_AWAY
    stopping.join()
    assert stopping.seconds < 5
    status, text = live.run_python(ANSWER).split(maxsplit=1)
    assert status == "interrupted"
    assert text.startswith("more more")
