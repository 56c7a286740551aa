"""The fallback chain, row by row of its table, over real servers (FAULTS 37-40)."""

from __future__ import annotations

from collections.abc import Callable

from tests.upstream import Upstream, closed_port, status
from webapp.patterns.breakers import MemoryBreakers
from webapp.patterns.fallback import Chain, Step
from webapp.patterns.providers.openai import OpenAIBackend
from webapp.patterns.types import Packet, Request, Trail

HELLO = Request.chat([{"role": "user", "content": "Hi"}])


def text_of(packets: list[Packet]) -> str:
    return "".join(delta.text for packet in packets for delta in packet.deltas)


async def test_the_first_backend_that_works_answers_and_the_trail_says_why_not_the_others(
    upstream: Upstream, make_upstream: Callable[..., Upstream]
) -> None:
    second = make_upstream()
    upstream.script(status(503))
    trail = Trail()
    backends = [
        OpenAIBackend("dead", f"http://127.0.0.1:{closed_port()}/v1"),
        OpenAIBackend("ill", upstream.base_url),
        OpenAIBackend("well", second.base_url),
    ]
    chain = Chain("default", [Step(backend, "m") for backend in backends], breakers=MemoryBreakers())
    packets = [packet async for packet in chain.stream(HELLO, trail=trail)]
    assert text_of(packets) == "Hello from upstream."
    assert [(a.backend, a.outcome, a.error) for a in trail.attempts] == [
        ("dead", "failed", "Unreachable"),
        ("ill", "failed", "ServerFailed"),
        ("well", "ok", ""),
    ]
    answer = await chain.send(HELLO, trail=trail)
    assert answer.text == "Hello from upstream."
    for b in backends:
        await b.aclose()
