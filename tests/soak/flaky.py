"""Upstreams that give the right answers: one that fails by chance, and one that does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from tests.soak.truth import Record, asked
from tests.upstream import Received, Reply, Upstream, Wire, embeds, says, status
from tests.upstream_files import FileRoom

ODDS = {"500": 0.05, "429": 0.02, "cut": 0.01, "stall": 0.01, "silence": 0.005}
"""Of a completion. A stall is in mid-stream; silence is before the headers."""
PACE = 0.015


class NoBatches(FileRoom):
    """No Batch API: batches are run by the product itself."""

    def answer(self, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> tuple[int, Any]:
        return 404, {"error": {"message": "No such thing", "type": "invalid_request_error", "param": None, "code": "not_found"}}


class Answers:
    """A reply for `Upstream.default`: the right answer, unless `odds` of this upstream say otherwise."""

    def __init__(self, record: Record, random: Random, odds: Mapping[str, float]) -> None:
        self._record, self._random, self._odds = record, random, odds

    async def __call__(self, received: Received, wire: Wire) -> None:
        fault = self._fault()
        self._record.note_request(fault)
        name, text = asked(received.body["messages"])
        pace = PACE * self._random.uniform(0.3, 1.5)
        if fault:
            await _FAULTS[fault](text, pace)(received, wire)
            return
        await says(text, pace=pace, first=self._random.uniform(0.02, 0.2))(received, wire)
        self._record.note_whole(name)

    def _fault(self) -> str:
        roll = self._random.random()
        for name, odds in self._odds.items():
            if roll < odds:
                return name
            roll -= odds
        return ""


class Embeds:
    """A reply for `Upstream.embeds`: as above, for embeddings."""

    def __init__(self, record: Record, random: Random, odds: Mapping[str, float]) -> None:
        self._record, self._random, self._odds = record, random, odds

    async def __call__(self, received: Received, wire: Wire) -> None:
        fails = self._random.random() < self._odds.get("500", 0)
        self._record.note_request("500" if fails else "")
        await (status(500) if fails else embeds(64))(received, wire)


def _half(text: str, pace: float) -> Reply:
    words = text.split(" ")
    return says(" ".join(words[: len(words) // 2]), pace=pace)


class _HalfWire(Wire):
    """Lets the role and the words through, and nothing of the end."""

    async def send(self, data: bytes) -> None:
        if b'"finish_reason": "stop"' not in data:
            await super().send(data)

    async def end(self, data: bytes = b"") -> None:
        if data and b"[DONE]" not in data:  # an answer that is not streamed: half of its bytes
            await super().send(data[: len(data) // 2])


def _cut(text: str, pace: float) -> Reply:
    async def reply(received: Received, wire: Wire) -> None:
        await _half(text, pace)(received, _HalfWire(wire._send))
        await asyncio.sleep(0.02)  # what was written must leave first
        received.close()

    return reply


def _stall(text: str, pace: float) -> Reply:
    async def reply(received: Received, wire: Wire) -> None:
        await _half(text, pace)(received, _HalfWire(wire._send))
        await asyncio.sleep(3600)

    return reply


async def _silence(received: Received, wire: Wire) -> None:
    await asyncio.sleep(3600)


_FAULTS: dict[str, Callable[[str, float], Reply]] = {
    "500": lambda text, pace: status(500),
    "429": lambda text, pace: status(429, headers={"retry-after": "1"}),
    "cut": _cut,
    "stall": _stall,
    "silence": lambda text, pace: _silence,
}


def prepare(upstream: Upstream, record: Record, random: Random, odds: Mapping[str, float]) -> Upstream:
    """Have an upstream give the right answers with the given odds of failing."""
    upstream.default = Answers(record, random, odds)
    upstream.embeds = Embeds(record, random, odds)
    upstream.files = NoBatches()
    return upstream
