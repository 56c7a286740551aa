"""A chat outlives the process that writes its answer, where another one lives."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import httpx2
import pytest
import websockets.sync.client as sockets
from websockets.sync.client import ClientConnection
from websockets.typing import Origin

from tests.live import Live
from tests.scale.installation import Installation
from tests.upstream import STALL, chunk, says, stream

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis]
PATIENCE = 20


@dataclass
class Chat:
    """A websocket of a conversation, signed in as the owner."""

    client: httpx2.Client
    socket: ClientConnection

    def say(self, action: str, **fields: str) -> None:
        self.socket.send(json.dumps({"body": {"action": action, **fields}}))

    def wait_for(self, text: str) -> None:
        """Read frames until one brings `text`."""
        deadline = time.monotonic() + PATIENCE
        while text not in json.loads(self.socket.recv(timeout=max(0.0, deadline - time.monotonic())))["content"]:
            pass


@contextmanager
def chat(live: Live, conversation: uuid.UUID) -> Iterator[Chat]:
    """One in a process."""
    client = live.sign_in("owner")
    cookie = {"Cookie": f"sessionid={client.cookies['sessionid']}"}
    url = f"ws://localhost:{live.port}/ws/chat/{conversation}/"
    with closing(client), sockets.connect(url, origin=Origin(live.url), additional_headers=cookie) as socket:
        yield Chat(client, socket)


def test_another_process_marks_an_orphan_interrupted_and_continues_it(both_webs: Installation) -> None:
    """FAULTS 26, without a restart: within 10 s, nothing asked again by itself, and Continue works where the reader is."""
    installation, conversation = both_webs, uuid.uuid4()
    upstream = installation.upstream
    upstream.script(stream(chunk({"role": "assistant", "content": "The first half "}), 1.0, chunk({"content": "lost"}), STALL))
    upstream.default = says("and the second.")
    begun = len(upstream.requests)
    with chat(installation.second, conversation) as there:
        with chat(installation.first, conversation) as here:
            here.say("send", text="Go", model="slow/m")
            there.wait_for("The first half")
            installation.first.kill()
        killed = time.monotonic()
        there.wait_for('data-status="interrupted"')
        assert time.monotonic() - killed < 10
        assert sum(request.streams for request in upstream.requests[begun:]) == 1
        there.say("continue")
        there.wait_for('data-status="done"')
        page = there.client.get(f"/chat/{conversation}/").text
    assert "The first half" in page
    assert "and the second." in page
    assert sum(request.streams for request in upstream.requests[begun:]) == 2
    installation.first.start()
