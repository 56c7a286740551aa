"""Clients of a real server that lose their connection at random, and resume the streams of background responses."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import httpx2
import pytest

from tests.faults.sockets import serve
from tests.live import Live
from tests.upstream import Upstream, says

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(300)]
RESPONSES = 20
WORDS = " ".join(f"word{number}" for number in range(400))
EVERY = 50
"""Events after which a client loses its connection, on average."""


class Client:
    """One client. It reads a few events of a connection, then drops it in the middle, and begins again after the last event it has."""

    def __init__(self, http: httpx2.AsyncClient, dice: random.Random) -> None:
        self._http = http
        self._dice = dice
        self.events: list[dict[str, Any]] = []
        self.connections = 0

    async def run(self) -> str:
        """Create a response, read it to its end, and return its id."""
        body = {"model": "default", "input": "Go", "background": True, "stream": True}
        await self._read("POST", "responses", json=body)
        name = str(self.events[0]["response"]["id"])
        while self.events[-1]["type"] != "response.completed":
            last = self.events[-1]["sequence_number"]
            await self._read("GET", f"responses/{name}?stream=true&starting_after={last}")
        return name

    async def _read(self, method: str, path: str, **options: Any) -> None:
        left = max(1, round(self._dice.expovariate(1 / EVERY)))
        self.connections += 1
        async with self._http.stream(method, path, **options) as response:
            assert response.status_code == 200, await response.aread()
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    self.events.append(json.loads(line[6:]))
                    left -= 1
                if not left:
                    return


@pytest.mark.parametrize("seed", [1])
async def test_clients_that_drop_at_random_get_each_event_once(live: Live, upstream: Upstream, seed: int) -> None:
    serve(live, upstream, "default")
    upstream.default = says(WORDS, pace=0.005)
    token = live.manage("create_token", "--user", "owner").stdout.strip()
    dice = random.Random(seed)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=f"{live.url}/v1/", headers=headers, timeout=60) as http:
        clients = [Client(http, random.Random(dice.random())) for _ in range(RESPONSES)]
        names = await asyncio.gather(*(client.run() for client in clients))
        for client, name in zip(clients, names, strict=True):
            assert [event["sequence_number"] for event in client.events] == list(range(len(client.events)))
            assert "".join(event["delta"] for event in client.events if event["type"] == "response.output_text.delta") == WORDS
            stored = (await http.get(f"responses/{name}")).json()
            assert stored["output"][0]["content"][0]["text"] == WORDS
            assert client.events[-1]["response"] == stored
    assert sum(client.connections for client in clients) > RESPONSES * 4
