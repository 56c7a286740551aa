"""The fallback chain, row by row of its table, over real servers (FAULTS 37-40)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from tests.upstream import (
    CUT,
    STALL,
    Reply,
    Upstream,
    chunk,
    closed_port,
    embeds,
    endless,
    error,
    html,
    says,
    silence,
    status,
    stream,
    tokens,
)
from webapp.patterns import errors
from webapp.patterns.backend import Backend, Timeouts
from webapp.patterns.fallback.breakers import MemoryBreakers
from webapp.patterns.fallback.chain import Chain, MidStream, Step
from webapp.patterns.openai.backend import OpenAIBackend
from webapp.patterns.streaming import Accumulator
from webapp.patterns.types import AttemptLog, Delta, ModelInfo, Request, Response, StreamChunk, Usage

HELLO = Request.chat([{"role": "user", "content": "Hi"}])
QUICK = Timeouts(connect=5, first_token=0.8, idle=0.5)
CALL = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]}


class Bench:
    """Three servers `a`, `b`, `c`, their backends, and chains over them that share breakers with a clock of their own."""

    def __init__(self, servers: list[Upstream]) -> None:
        self.now = 1000.0
        self.breakers = MemoryBreakers(lambda: self.now)
        self.servers = servers
        self.flags: list[tuple[str, str]] = []
        self.backends = [OpenAIBackend(name, server.base_url, timeouts=QUICK) for name, server in zip("abc", servers, strict=True)]
        for name, server in zip("abc", servers, strict=True):
            server.default = says(f"Hello from {name}")

    def chain(self, count: int = 2, **options: Any) -> Chain:
        steps = options.pop("steps", None) or [Step(backend, f"m-{backend.name}") for backend in self.backends[:count]]
        return Chain(
            "default", steps, breakers=self.breakers, on_flag=lambda name, why: self.flags.append((name, type(why).__name__)), **options
        )

    @property
    def calls(self) -> list[int]:
        """How many requests each server got."""
        return [len(server.requests) for server in self.servers]


@pytest.fixture
async def bench(make_upstream: Callable[..., Upstream]) -> AsyncIterator[Bench]:
    built = Bench([make_upstream() for _ in range(3)])
    yield built
    for backend in built.backends:
        await backend.aclose()


async def hear(chain: Chain, request: Request = HELLO, trail: AttemptLog | None = None) -> str:
    whole = Accumulator()
    async for packet in chain.stream(request, trail=trail):
        whole.add_packet(packet)
    return whole.text


def outcomes_of(trail: AttemptLog) -> list[tuple[str, str, str]]:
    return [(attempt.backend, attempt.outcome, attempt.error) for attempt in trail.attempts]


# --- what a chain is


async def test_a_chain_is_a_backend_that_names_its_window_and_model(bench: Bench) -> None:
    steps = [Step(bench.backends[0], "small", window=100), Step(bench.backends[1], "large", window=900), Step(bench.backends[2], "unknown")]
    chain = bench.chain(steps=steps)
    assert isinstance(chain, Backend)
    assert (chain.window, chain.primary_model) == (900, "small")
    assert [(model.id, model.context_window) for model in await chain.models()] == [("default", 900)]
    await chain.aclose()
    assert bench.chain().window is None
    with pytest.raises(ValueError, match="no steps"):
        Chain("default", [], breakers=bench.breakers)


async def test_the_first_step_that_works_answers_under_its_own_model(bench: Bench) -> None:
    trail = AttemptLog()
    assert await hear(bench.chain(), trail=trail) == "Hello from a"
    assert (await bench.chain().send(HELLO)).text == "Hello from a"
    assert [request.body["model"] for request in bench.servers[0].requests] == ["m-a", "m-a"]
    assert bench.calls == [2, 0, 0]
    assert (outcomes_of(trail), trail.usage) == ([("a", "ok", "")], Usage(7, 3))
    assert trail.served_by is trail.attempts[0]


async def test_embeddings_go_through_a_chain_too(bench: Bench) -> None:
    bench.servers[0].script(status(500))
    bench.servers[1].embeds = embeds(3)
    answer = await bench.chain().send(Request.embedding(["x"]))
    assert len(answer.body["data"][0]["embedding"]) == 3


# --- the table, row by row


NEXT: dict[str, tuple[Reply, str]] = {
    "408": (status(408), "ServerFailed"),
    "500": (status(500), "ServerFailed"),
    "529": (status(529), "ServerFailed"),
    "first-token timeout": (silence, "TimedOut"),
    "headers, then nothing": (stream(STALL), "TimedOut"),
    "HTML": (html(), "BadAnswer"),
    "broken JSON": (status(200, "{"), "BadAnswer"),
    "empty choices": (status(200, {"choices": []}), "BadAnswer"),
    "an error event": (stream({"error": {"message": "boom"}}), "ServerFailed"),
    "429": (status(429), "RateLimited"),
    "429 insufficient_quota": (error("no", code=429, type="insufficient_quota"), "QuotaExhausted"),
    "402": (status(402), "QuotaExhausted"),
    "401": (status(401), "AuthenticationFailed"),
    "403": (status(403), "Forbidden"),
    "404": (status(404), "ModelMissing"),
    "no tools": (error("m does not support tools"), "CapabilityMissing"),
    "overflow": (error("maximum context length is 10 tokens"), "ContextOverflow"),
}


@pytest.mark.parametrize(("reply", "kind"), NEXT.values(), ids=NEXT)
async def test_the_next_step_is_tried(bench: Bench, reply: Reply, kind: str) -> None:
    """FAULTS 38-40, streamed; the trail says why, free of the next step's part."""
    bench.servers[0].script(reply)
    trail = AttemptLog()
    assert await hear(bench.chain(), trail=trail) == "Hello from b"
    assert outcomes_of(trail) == [("a", "failed", kind), ("b", "ok", "")]
    assert trail.attempts[0].why
    assert bench.calls == [1, 1, 0]


async def test_a_whole_answer_that_stalls_in_the_middle_is_taken_from_the_next_step(bench: Bench) -> None:
    """FAULTS 37: nothing of it was shown to anybody."""
    bench.servers[0].script(stream('{"choices": [{', STALL, content_type="application/json"))
    trail = AttemptLog()
    assert (await bench.chain().send(HELLO, trail=trail)).text == "Hello from b"
    assert [(attempt.backend, attempt.error) for attempt in trail.attempts] == [("a", "TimedOut"), ("b", "")]


@pytest.mark.parametrize("kind", ["500", "HTML", "empty choices", "429", "401", "404"])
async def test_the_next_step_is_tried_for_whole_answers(bench: Bench, kind: str) -> None:
    bench.servers[0].script(NEXT[kind][0])
    assert (await bench.chain().send(HELLO)).text == "Hello from b"


@pytest.mark.parametrize("code", [400, 413, 422])
async def test_a_request_that_is_at_fault_goes_back_at_once(bench: Bench, code: int) -> None:
    """One call in all; the breaker is untouched."""
    bench.servers[0].script(*[status(code)] * 12)
    for _ in range(6):
        with pytest.raises(errors.RequestRejected):
            await hear(bench.chain())
        with pytest.raises(errors.RequestRejected) as caught:
            await bench.chain().send(HELLO)
    assert caught.value.body is not None
    assert bench.calls == [12, 0, 0]
    assert bench.breakers.snapshot() == {}


async def test_a_body_too_large_for_one_server_goes_to_one_that_has_accepted_as_much(bench: Bench) -> None:
    longest, long, longer = (Request.chat([{"role": "user", "content": "x" * length}]) for length in (5500, 5000, 6000))
    await bench.backends[2].send(longest.with_options(model="m-c"))
    bench.servers[0].script(status(413), status(413))
    assert await hear(bench.chain(3), long) == "Hello from c"
    assert bench.calls == [1, 0, 2]
    with pytest.raises(errors.BodyTooLarge):
        await hear(bench.chain(3), longer)
    assert bench.calls == [2, 0, 2]
    assert bench.breakers.snapshot() == {}


async def test_a_refused_port_costs_little_and_nothing_once_its_breaker_is_open(bench: Bench) -> None:
    dead = OpenAIBackend("dead", f"http://127.0.0.1:{closed_port()}/v1")
    chain = bench.chain(steps=[Step(dead, "m"), Step(bench.backends[0], "m")])
    await hear(bench.chain(1))
    trails = [AttemptLog() for _ in range(7)]
    for trail in trails:
        assert await hear(chain, trail=trail) == "Hello from a"
    outcomes = [trail.attempts[0].outcome for trail in trails]
    assert outcomes == ["failed"] * 5 + ["skipped"] * 2
    assert trails[6].attempts[0].why == "Not called for another 30 s: Could not connect: Connection refused"
    assert (trails[6].attempts[0].duration_ms, bench.breakers.health("dead").state) == (0, "open")


async def test_a_server_error_counts_against_the_model_not_its_server(bench: Bench) -> None:
    bench.servers[0].script(*[status(500)] * 5)
    for _ in range(6):
        await hear(bench.chain())
    assert bench.calls == [5, 6, 0]
    assert set(bench.breakers.snapshot()) == {"a/m-a"}


async def test_after_its_pause_one_real_request_probes_and_success_closes_the_breaker(bench: Bench) -> None:
    bench.servers[0].script(*[status(500)] * 5, says("I am back", pace=0.05))
    for _ in range(5):
        await hear(bench.chain())
    bench.now += 31
    probe, other = await asyncio.gather(hear(bench.chain()), hear(bench.chain()))
    assert (probe, other) == ("I am back", "Hello from b")
    assert await hear(bench.chain()) == "Hello from a"


@pytest.mark.parametrize(
    ("reply", "key", "seconds"),
    [
        (status(429, headers={"retry-after": "120"}), "a/m-a", 120),
        (status(429, headers={"retry-after-ms": "90000"}), "a/m-a", 90),
        (status(429), "a/m-a", 5),
        (status(402), "a/m-a", 1800),
        (error("no", code=429, type="insufficient_quota", retry_after=7200), "a/m-a", 7200),
        (status(401), "a/m-a", 300),
        (status(404), "a/m-a", 300),
    ],
)
async def test_what_will_not_mend_soon_cools_down(bench: Bench, reply: Reply, key: str, seconds: float) -> None:
    bench.servers[0].script(reply)
    for _ in range(2):
        assert await hear(bench.chain()) == "Hello from b"
    assert bench.calls[0] == 1
    assert (bench.breakers.health(key).state, bench.breakers.health(key).seconds) == ("cooling", seconds)
    bench.now += seconds + 0.1
    assert await hear(bench.chain()) == "Hello from a"


async def test_a_model_that_is_missing_says_nothing_about_its_neighbors(bench: Bench) -> None:
    bench.servers[0].script(status(404))
    await hear(bench.chain())
    assert await hear(bench.chain(steps=[Step(bench.backends[0], "other")])) == "Hello from a"


@pytest.mark.parametrize(("reply", "kind"), [(status(401), "AuthenticationFailed"), (status(402), "QuotaExhausted")])
async def test_an_administrator_is_told_of_what_only_they_can_mend(bench: Bench, reply: Reply, kind: str) -> None:
    bench.servers[0].script(reply)
    await hear(bench.chain())
    assert bench.flags == [("a", kind)]


async def test_a_conflict_is_tried_once_more_then_the_next(bench: Bench) -> None:
    bench.servers[0].script(status(409))
    assert await hear(bench.chain()) == "Hello from a"
    bench.servers[0].script(status(409), status(409))
    trail = AttemptLog()
    assert await hear(bench.chain(), trail=trail) == "Hello from b"
    assert outcomes_of(trail) == [("a", "failed", "Conflict"), ("a", "failed", "Conflict"), ("b", "ok", "")]


async def test_steps_have_their_own_timeouts(bench: Bench) -> None:
    bench.backends[0].timeouts = Timeouts()
    bench.servers[0].default = silence
    steps = [Step(bench.backends[0], "m", first_token_timeout=0.1), Step(bench.backends[1], "m")]
    began = time.monotonic()
    assert await hear(bench.chain(steps=steps)) == "Hello from b"
    assert time.monotonic() - began < 3
    bench.servers[0].default = stream(chunk({"content": "a"}), STALL)
    with pytest.raises(errors.StreamBroken, match=r"0\.1 s"):
        await hear(bench.chain(steps=[Step(bench.backends[0], "m", idle_timeout=0.1)]))


# --- rate limits


async def test_on_the_last_step_a_short_wait_is_waited_once(bench: Bench) -> None:
    bench.breakers = MemoryBreakers()
    bench.servers[0].script(status(429, headers={"retry-after": "0.05"}))
    waits: list[str] = []
    trail = AttemptLog(lambda _: waits.append(trail.waiting))
    assert await hear(bench.chain(1), trail=trail) == "Hello from a"
    assert outcomes_of(trail) == [("a", "failed", "RateLimited"), ("a", "ok", "")]
    assert "a · m-a is rate limited. Asking again in 0 s" in waits
    assert trail.waiting == ""
    bench.servers[0].script(status(429, headers={"retry-after": "0.05"}))
    assert (await bench.chain(1).send(HELLO)).text == "Hello from a"


async def test_requests_that_come_while_all_cool_wait_their_turn_too(bench: Bench) -> None:
    bench.breakers = MemoryBreakers()
    bench.breakers.cool("a/m-a", 0.1, "slow down", limited=True)
    bench.breakers.cool("b/m-b", 9, "slow down", limited=True)
    trail = AttemptLog()
    assert await hear(bench.chain(), trail=trail) == "Hello from a"
    assert [attempt.outcome for attempt in trail.attempts] == ["skipped", "skipped", "ok"]


async def test_a_wait_beyond_the_budget_is_handed_to_the_caller(bench: Bench) -> None:
    bench.servers[0].script(status(429, headers={"retry-after": "50"}))
    bench.servers[1].script(status(429, headers={"retry-after": "40"}))
    for _ in range(2):
        with pytest.raises(errors.AllCooling) as caught:
            await hear(bench.chain())
        assert caught.value.retry_after == 40
        assert caught.value.status == 503
    assert bench.calls == [1, 1, 0]
    assert "HTTP 429" in caught.value.message
    assert len(caught.value.attempts) == 2


async def test_a_lone_server_that_stays_rate_limited_is_asked_twice(bench: Bench) -> None:
    bench.breakers = MemoryBreakers()
    bench.servers[0].default = status(429, headers={"retry-after": "0.05"})
    with pytest.raises(errors.AllCooling) as caught:
        await hear(bench.chain(1))
    assert bench.calls[0] == 2
    assert caught.value.limited
    assert caught.value.message.count("HTTP 429") == 1


async def test_open_breakers_are_not_waited_for(bench: Bench) -> None:
    bench.servers[0].default = status(500)
    for _ in range(5):
        with pytest.raises(errors.AllFailed):
            await hear(bench.chain(1))
    with pytest.raises(errors.AllCooling) as caught:
        await hear(bench.chain(1, budget_seconds=1000))
    assert caught.value.retry_after == 30
    assert bench.calls[0] == 5


# --- when all fail


async def test_all_failed_tells_of_each(bench: Bench) -> None:
    bench.servers[0].script(status(401))
    bench.servers[1].script(status(503))
    trail = AttemptLog()
    with pytest.raises(errors.AllFailed) as caught:
        await hear(bench.chain(), trail=trail)
    assert isinstance(caught.value.cause, errors.ServerFailed)
    assert caught.value.attempts == trail.attempts
    assert "a/m-a: HTTP 401" in caught.value.message
    assert "b/m-b: HTTP 503" in caught.value.message


async def test_steps_that_may_not_be_used_say_why(bench: Bench) -> None:
    trail = AttemptLog()
    with pytest.raises(errors.AllFailed, match="a/m: Its key is lost") as caught:
        await hear(bench.chain(steps=[Step(bench.backends[0], "m", unusable="Its key is lost.")]), trail=trail)
    assert (caught.value.cause, outcomes_of(trail)) == (None, [("a", "skipped", "")])


async def test_a_stream_of_nothing_is_a_failure(bench: Bench) -> None:
    class Mute(OpenAIBackend):
        async def stream(self, *_: Any, **__: Any) -> AsyncGenerator[StreamChunk, None]:
            for packet in list[StreamChunk]():
                yield packet

    with pytest.raises(errors.AllFailed, match="default"):
        await hear(bench.chain(steps=[Step(Mute("mute", "http://127.0.0.1/v1"), "m")]))


# --- context windows


async def test_an_overflow_goes_to_a_larger_window(bench: Bench) -> None:
    bench.servers[0].script(error("maximum context length is 100 tokens"))
    steps = [Step(backend, "m", window=window) for backend, window in zip(bench.backends, (100, 50, 900), strict=True)]
    trail = AttemptLog()
    assert await hear(bench.chain(steps=steps), trail=trail) == "Hello from c"
    assert [attempt.outcome for attempt in trail.attempts] == ["failed", "skipped", "ok"]
    assert "50 tokens is too small" in trail.attempts[1].why
    assert bench.breakers.snapshot() == {}


async def test_an_overflow_of_the_largest_window_is_cut_once(bench: Bench) -> None:
    long = Request.chat([{"role": "user" if n % 2 == 0 else "assistant", "content": f"turn {n} " * 20} for n in range(21)])
    for server in bench.servers[:2]:
        server.script(error("maximum context length is 400 tokens"))
    steps = [Step(bench.backends[0], "gpt-4o"), Step(bench.backends[1], "gpt-4o")]
    assert await hear(bench.chain(steps=steps), long) == "Hello from a"
    first, again = (request.body["messages"] for request in bench.servers[0].requests)
    assert len(again) < len(first) == 21
    assert again[-1] == first[-1]
    assert bench.calls == [2, 1, 0]


async def test_a_server_that_counts_more_than_we_do_gets_less(bench: Bench) -> None:
    long = Request.chat([{"role": "user" if n % 2 == 0 else "assistant", "content": f"turn {n} " * 20} for n in range(21)], max_tokens=10)
    bench.servers[0].script(error("context length exceeded"), error("context length exceeded"))
    with pytest.raises(errors.ContextOverflow):
        await hear(bench.chain(1), long)
    assert len(bench.servers[0].requests[1].body["messages"]) < 21
    assert bench.calls[0] == 2


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_where_only_the_answer_is_too_long_its_limit_is_lowered(bench: Bench, name: str) -> None:
    bench.servers[0].script(error("maximum context length is 1000 tokens"))
    assert await hear(bench.chain(1), HELLO.with_options(**{name: 4000})) == "Hello from a"
    first, again = (request.body for request in bench.servers[0].requests)
    assert first["messages"] == again["messages"]
    assert 900 < again[name] < 1000


async def test_an_answer_that_would_have_no_room_costs_turns_and_is_limited(bench: Bench) -> None:
    long = Request.chat([{"role": "user" if n % 2 == 0 else "assistant", "content": f"turn {n} " * 20} for n in range(21)], max_tokens=2000)
    bench.servers[0].script(error("maximum context length is 1200 tokens"))
    assert await hear(bench.chain(1), long) == "Hello from a"
    again = bench.servers[0].requests[1].body
    assert len(again["messages"]) < 21
    assert again["max_tokens"] == 600


@pytest.mark.parametrize(
    "request_",
    [HELLO.with_options(tools=[{"type": "function", "function": {"name": "f" * 400}}]), Request({"prompt": "x"}, path="completions")],
)
async def test_what_cannot_be_cut_goes_back(bench: Bench, request_: Request) -> None:
    bench.servers[0].script(error("context window of 20 tokens exceeded"), error("context window of 20 tokens exceeded"))
    with pytest.raises(errors.ContextOverflow):
        await hear(bench.chain(1), request_)
    assert bench.calls[0] <= 2


async def test_cutting_is_left_to_whoever_gives_it(bench: Bench) -> None:
    bench.servers[0].script(*[error("context length exceeded")] * 3)
    with pytest.raises(errors.ContextOverflow):
        await hear(bench.chain(1, truncate=None))
    seen: list[Any] = []

    async def cut(request: Request, window: int | None, model: str) -> Request | None:
        seen.append((window, model))
        return None

    with pytest.raises(errors.ContextOverflow):
        await hear(bench.chain(1, truncate=cut))
    assert seen == [(None, "m-a")]


# --- capabilities


async def test_steps_that_cannot_do_what_is_asked_are_passed_over(bench: Bench) -> None:
    bench.backends[0].capabilities = {"tools": False}
    tools = HELLO.with_options(tools=[{"type": "function", "function": {"name": "f"}}])
    trail = AttemptLog()
    assert await hear(bench.chain(), tools, trail) == "Hello from b"
    assert (trail.attempts[0].outcome, trail.attempts[0].why) == ("skipped", "It cannot do: tools.")
    assert await hear(bench.chain()) == "Hello from a"
    with pytest.raises(errors.CapabilityMissing, match="a: no tools"):
        await hear(bench.chain(1), tools)
    assert await hear(bench.chain(steps=[Step(bench.backends[0], "m", capabilities={"tools": True})]), tools) == "Hello from a"


@pytest.mark.parametrize(
    ("needed", "options"),
    [
        ("json_schema", {"response_format": {"type": "json_schema"}}),
        ("json_object", {"response_format": {"type": "json_object"}}),
        ("logprobs", {"logprobs": True}),
        ("tools", {"functions": [{"name": "f"}]}),
        ("vision", {"messages": [{"role": "user", "content": [{"type": "text"}, {"type": "image_url"}]}, "odd"]}),
        ("audio", {"messages": [{"role": "user", "content": [{"type": "input_audio"}, "odd"]}]}),
        ("chat", {"response_format": {"type": "text"}}),
    ],
)
async def test_what_a_request_needs_is_read_from_it(bench: Bench, needed: str, options: dict[str, Any]) -> None:
    bench.backends[0].capabilities = {needed: False}
    assert (await bench.chain().send(HELLO.with_options(**options))).text == "Hello from b"
    assert bench.calls == [0, 1, 0]


# --- after the first content


BREAKS = {"cut": CUT, "stall": STALL, "error": {"error": {"message": "boom"}}}


@pytest.mark.parametrize("end", BREAKS.values(), ids=BREAKS)
async def test_a_broken_stream_stops_by_default_and_the_partial_is_kept(bench: Bench, end: Any) -> None:
    """FAULTS 37."""
    bench.servers[0].script(stream(chunk({"content": "Once"}), end))
    trail, whole = AttemptLog(), Accumulator()
    with pytest.raises(errors.StreamBroken):  # noqa: PT012 (the partial is what matters)
        async for packet in bench.chain().stream(HELLO, trail=trail):
            whole.add_packet(packet)
    assert (whole.text, outcomes_of(trail), bench.calls) == ("Once", [("a", "partial", "StreamBroken")], [1, 0, 0])


async def test_restart_begins_anew_and_says_so(bench: Bench) -> None:
    bench.servers[0].script(stream(chunk({"content": "Once"}), CUT))
    trail = AttemptLog()
    packets = [packet async for packet in bench.chain(mid_stream="restart").stream(HELLO, trail=trail)]
    assert [packet.switch for packet in packets if packet.switch] == ["restart"]
    whole = Accumulator()
    for packet in packets:
        whole.add_packet(packet)
    assert whole.text == "Hello from b"
    assert outcomes_of(trail) == [("a", "partial", "StreamBroken"), ("b", "ok", "")]
    assert trail.served_by is trail.attempts[1]
    assert bench.servers[1].requests[0].body["messages"] == HELLO.messages


async def test_continue_goes_on_from_the_partial_answer_as_often_as_it_takes(bench: Bench) -> None:
    bench.servers[0].script(stream(chunk({"content": "Once "}), CUT))
    bench.servers[1].script(stream(chunk({"content": "upon "}), CUT))
    bench.servers[2].script(says("a time"))
    packets = [packet async for packet in bench.chain(3, mid_stream="continue").stream(HELLO)]
    assert [packet.switch for packet in packets if packet.switch] == ["continue", "continue"]
    assert "".join(delta.text for packet in packets for delta in packet.deltas) == "Once upon a time"
    sent = bench.servers[2].requests[0].body["messages"]
    assert sent[:2] == [*HELLO.messages, {"role": "assistant", "content": "Once upon "}]
    assert "Continue it exactly" in sent[2]["content"]
    assert len(sent) == 3


async def test_continue_without_any_text_begins_anew(bench: Bench) -> None:
    bench.servers[0].script(stream(chunk({"reasoning": "hm"}), CUT))
    packets = [packet async for packet in bench.chain(mid_stream="continue").stream(HELLO)]
    assert [packet.switch for packet in packets if packet.switch] == ["restart"]
    assert bench.servers[1].requests[0].body["messages"] == HELLO.messages


async def test_nothing_is_continued_once_a_tool_call_has_begun(bench: Bench) -> None:
    bench.servers[0].script(stream(chunk({"content": "Let me see"}), chunk(CALL), CUT), stream(chunk(CALL), CUT))
    with pytest.raises(errors.StreamBroken):
        await hear(bench.chain(mid_stream="continue"))
    assert await hear(bench.chain(mid_stream="restart")) == "Hello from b"


async def test_a_broken_stream_with_nobody_left_is_a_broken_stream(bench: Bench) -> None:
    bench.servers[0].script(stream(chunk({"content": "Once"}), CUT))
    with pytest.raises(errors.StreamBroken):
        await hear(bench.chain(1, mid_stream="restart"))


@pytest.mark.parametrize("policy", ["restart", "continue"])
@pytest.mark.parametrize("refusal", [400, 500])
async def test_a_partial_answer_is_not_given_up_before_another_step_speaks(bench: Bench, policy: MidStream, refusal: int) -> None:
    """FAULTS 37: a restart that finds nobody would void the partial answer for nothing."""
    bench.servers[0].script(stream(chunk({"content": "Once"}), CUT))
    bench.servers[1].script(status(refusal))
    packets, whole = bench.chain(mid_stream=policy).stream(HELLO), Accumulator()
    with pytest.raises(errors.StreamBroken):  # noqa: PT012 (the partial is what matters)
        async for packet in packets:
            whole.add_packet(packet)
    assert whole.text == "Once"
    assert bench.calls == [1, 1, 0]


async def test_broken_streams_open_the_breaker(bench: Bench) -> None:
    bench.servers[0].default = stream(chunk({"content": "Once"}), CUT)
    for _ in range(5):
        with pytest.raises(errors.StreamBroken):
            await hear(bench.chain())
    assert await hear(bench.chain()) == "Hello from b"


# --- hedging


async def test_a_slow_first_token_starts_the_next_step_and_the_first_to_speak_wins(bench: Bench) -> None:
    bench.servers[0].default = says("late", first=0.25)
    trail = AttemptLog()
    assert await hear(bench.chain(hedge_ms=50), trail=trail) == "Hello from b"
    assert [(a.backend, a.outcome, a.why) for a in trail.attempts] == [("a", "skipped", "Another step spoke first."), ("b", "ok", "")]
    assert await asyncio.to_thread(bench.servers[0].requests[0].gone.wait, 1)
    assert trail.served_by is trail.attempts[1]
    assert bench.breakers.snapshot() == {}


async def test_the_first_step_may_still_win(bench: Bench) -> None:
    bench.servers[0].default = says("slow but first", first=0.15)
    bench.servers[1].default = silence
    trail = AttemptLog()
    assert await hear(bench.chain(hedge_ms=50), trail=trail) == "slow but first"
    assert [a.outcome for a in trail.attempts] == ["ok", "skipped"]
    assert await asyncio.to_thread(bench.servers[1].requests[0].gone.wait, 1)


async def test_a_quick_answer_is_not_hedged(bench: Bench) -> None:
    assert await hear(bench.chain(hedge_ms=200)) == "Hello from a"
    assert bench.calls == [1, 0, 0]


async def test_a_hedged_step_that_fails_makes_room_for_the_next_at_once(bench: Bench) -> None:
    bench.servers[0].script(status(500))
    bench.servers[1].script(status(503))
    began = time.monotonic()
    assert await hear(bench.chain(3, hedge_ms=5000)) == "Hello from c"
    assert time.monotonic() - began < 3
    for server in bench.servers:
        server.default = status(500)
    with pytest.raises(errors.AllFailed):
        await hear(bench.chain(3, hedge_ms=10))


async def test_a_race_goes_on_when_nobody_else_can_be_started(bench: Bench) -> None:
    bench.servers[0].default = says("alone", first=0.1)
    steps = [Step(bench.backends[0], "m"), Step(bench.backends[1], "m", unusable="Its key is lost.")]
    assert await hear(bench.chain(steps=steps, hedge_ms=20)) == "alone"


class Slow:
    """A server in this process that speaks after `first` seconds and takes `end` seconds to close."""

    def __init__(self, name: str, first: float, end: float) -> None:
        self.name, self.first, self.end = name, first, end
        self.base_url, self.timeouts = "http://slow/v1", Timeouts()
        self.capabilities: Mapping[str, bool] = {}
        self.spoke, self.closed = asyncio.Event(), False

    async def stream(
        self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None
    ) -> AsyncGenerator[StreamChunk]:
        try:
            await asyncio.sleep(self.first)
            self.spoke.set()
            yield StreamChunk(b"", (Delta(text=self.name),))
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(self.end)
            self.closed = True

    async def send(self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None) -> Response:
        raise NotImplementedError

    async def models(self) -> list[ModelInfo]:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError


async def test_a_caller_that_goes_away_while_the_losers_close_closes_the_winner_too(bench: Bench) -> None:
    loser, winner = Slow("a", 30, 0.3), Slow("b", 0, 0)
    task = asyncio.create_task(hear(bench.chain(steps=[Step(loser, "m"), Step(winner, "m")], hedge_ms=1)))
    await winner.spoke.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert winner.closed


async def test_a_probe_is_given_up_even_when_closing_its_stream_is_cancelled(bench: Bench) -> None:
    server = Slow("a", 0, 30)
    for _ in range(5):
        bench.breakers.failed("a")
    bench.now += 31
    packets = bench.chain(steps=[Step(server, "m")]).stream(HELLO)
    await anext(packets)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(packets.aclose(), 0.02)
    assert bench.breakers.acquire("a") is None


async def test_a_request_at_fault_ends_the_race(bench: Bench) -> None:
    bench.servers[0].default = silence
    bench.servers[1].default = status(400)
    with pytest.raises(errors.RequestRejected):
        await hear(bench.chain(hedge_ms=20))
    assert await asyncio.to_thread(bench.servers[0].requests[0].gone.wait, 1)


# --- going away


@pytest.mark.parametrize("hedge", [None, 20])
@pytest.mark.parametrize("reply", [silence, endless(pace=0.01)], ids=["before the first token", "in mid-stream"])
async def test_a_caller_that_goes_away_closes_the_upstream_and_nothing_else_is_tried(
    bench: Bench, reply: Reply, hedge: float | None
) -> None:
    """The upstream is closed within a second."""
    bench.backends[0].timeouts = Timeouts()
    bench.servers[0].default = reply
    bench.servers[1].default = silence
    trail = AttemptLog()
    task = asyncio.create_task(hear(bench.chain(hedge_ms=hedge), trail=trail))
    await asyncio.to_thread(bench.servers[0].wait_for, 1)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(bench.servers[0].requests[0].gone.wait, 1)
    before = bench.calls
    await asyncio.sleep(0.05)
    assert bench.calls == before
    assert trail.attempts[0].outcome in {"cancelled", "skipped"}
    assert bench.breakers.snapshot() == {}


async def test_a_cancelled_probe_leaves_the_way_open_for_another(bench: Bench) -> None:
    bench.servers[0].script(*[status(500)] * 5, silence)
    for _ in range(5):
        await hear(bench.chain())
    bench.now += 31
    task = asyncio.create_task(hear(bench.chain()))
    await asyncio.to_thread(bench.servers[0].wait_for, 6)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await hear(bench.chain()) == "Hello from a"


async def test_a_caller_that_closes_the_stream_early_is_a_caller_that_went_away(bench: Bench) -> None:
    bench.servers[0].default = tokens(100, pace=0.02)
    packets = bench.chain().stream(HELLO)
    await anext(packets)
    await packets.aclose()
    assert await asyncio.to_thread(bench.servers[0].requests[0].gone.wait, 1)
    assert bench.calls == [1, 0, 0]


async def test_a_lone_step_says_each_time_that_the_model_is_missing(bench: Bench) -> None:
    """It is told "no such model" rather than "not now": there is no other step to go to meanwhile, and asking again costs nothing."""
    bench.servers[0].script(status(404), status(404))
    for _ in range(2):
        with pytest.raises(errors.AllFailed) as failed:
            await hear(bench.chain(steps=[Step(bench.backends[0], "m-a")]))
        assert isinstance(failed.value.cause, errors.ModelMissing)
    assert bench.calls[0] == 2
