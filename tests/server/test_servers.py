"""Both servers of `up --server` carry everything the product does: pages, whole answers, streams, and chats (docs/adr/0033)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

import httpx2
import pytest

from tests.faults.sockets import attached, handshake
from tests.live import Live

QUESTION = {"model": "default", "messages": [{"role": "user", "content": "What is 6 times 7?"}]}


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_a_server_carries_pages_answers_streams_and_chats(server: str, new_live: Callable[..., Live]) -> None:
    served = new_live(server=server)
    token = served.manage("create_token", "--user", "owner").stdout.strip()
    with httpx2.Client(base_url=served.url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        assert client.get("/accounts/login/").status_code == 200
        for _ in range(2):  # over one connection
            whole = client.post("/v1/chat/completions", json=QUESTION)
            assert whole.json()["choices"][0]["message"]["content"]
        with client.stream("POST", "/v1/chat/completions", json={**QUESTION, "stream": True}) as streamed:
            events = [line.removeprefix("data: ") for line in streamed.iter_lines() if line]
        assert events[-1] == "[DONE]"
        assert json.loads(events[0])["object"] == "chat.completion.chunk"
        assert client.post("/v1/chat/completions", content=b"{").json()["error"]["code"] == "invalid_json"
    with attached(served, handshake(served, "owner"), uuid.uuid4()) as socket:
        socket.say("send", text="Hello", model="default")
        socket.until('data-status="done"')
