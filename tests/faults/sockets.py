"""A person's websocket at a real server: what CONTRACT.md says of it, and no more."""

from __future__ import annotations

import json
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import websockets
from websockets.sync.client import ClientConnection, connect

from tests.live import Live
from tests.upstream import Received, Reply, Upstream, Wire, says


@dataclass
class Socket:
    """An open socket of one conversation, and the frames that it was sent."""

    connection: ClientConnection
    frames: list[dict[str, Any]] = field(default_factory=list)

    @property
    def html(self) -> str:
        return "\n".join(frame["content"] for frame in self.frames)

    def say(self, action: str, **fields: str) -> None:
        self.connection.send(json.dumps({"body": {"action": action, **fields}}))

    def until(self, text: str, seconds: float = 15) -> float:
        """Read until a frame holds `text`; the moment."""
        deadline = time.monotonic() + seconds
        while not self.frames or text not in self.frames[-1]["content"]:
            self.frames.append(json.loads(self.connection.recv(max(0.0, deadline - time.monotonic()))))
        return time.monotonic()

    def until_closed(self, seconds: float) -> int:
        """Read until the server closes; the code."""
        deadline = time.monotonic() + seconds
        try:
            while True:
                self.frames.append(json.loads(self.connection.recv(max(0.0, deadline - time.monotonic()))))
        except websockets.ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006


def handshake(live: Live, user: str) -> dict[str, str]:
    """The headers that a browser of `user` sends."""
    client = live.sign_in(user)
    client.close()
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}


@contextmanager
def attached(live: Live, headers: dict[str, str], conversation: uuid.UUID) -> Iterator[Socket]:
    """A socket of a conversation, closed at the end."""
    address = f"{live.url.replace('http', 'ws')}/ws/chat/{conversation}/"
    with connect(address, origin=websockets.Origin(live.url), additional_headers=headers, proxy=None, max_size=None) as connection:
        yield Socket(connection)


SERVE = """
from webapp.accounts.models import User
from webapp.backends.services import add_backend, add_model, create_token, set_route
backend = add_backend(name="up{port}", base_url="{url}")
add_model(backend=backend, name="m")
for route in ("{route}", "seen-{port}"):
    set_route(name=route, steps=[(backend, "m")])
print(create_token(user=User.objects.get(username="owner"))[1])
"""


def serve(live: Live, upstream: Upstream, route: str) -> None:
    """Have the server ask the upstream, alone, for `route`; returns when the server, which is another process, has seen it."""
    token = live.run_python(SERVE.format(port=upstream.port, url=upstream.base_url, route=route)).strip()
    deadline = time.monotonic() + 10
    with httpx2.Client(base_url=live.url, headers={"Authorization": f"Bearer {token}"}) as client:
        while client.get(f"/v1/models/seen-{upstream.port}").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def apart_from_titles(*replies: Reply) -> Reply:
    """A reply that gives these one after the other, the last again and again, and a title to whoever asks for one."""
    left = deque(replies)

    async def reply(received: Received, wire: Wire) -> None:
        if "title" in received.body["messages"][-1]["content"]:
            await says('{"title": "A title"}')(received, wire)
        else:
            await (left.popleft() if len(left) > 1 else left[0])(received, wire)

    return reply


def asked(upstream: Upstream, question: str) -> list[Received]:
    """The requests that end with this very question: not those for a title."""
    completions = [received for received in upstream.requests if received.path == "/v1/chat/completions"]
    return [received for received in completions if received.body["messages"][-1]["content"] == question]


def streamed(live: Live, token: str, model: str, words: list[str]) -> None:
    """A stream of the gateway, into `words`; the last is `[DONE]` where it was whole."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Go"}]}
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.stream("POST", f"{live.url}/v1/chat/completions", json=body, headers=headers, timeout=60) as response:
        for line in response.iter_lines():
            if line == "data: [DONE]":
                words.append("[DONE]")
            elif line.startswith("data: "):
                words += [choice["delta"].get("content") or "" for choice in json.loads(line[6:])["choices"]]
