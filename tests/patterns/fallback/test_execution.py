"""The parts of a walk over a chain that need no server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from webapp.patterns import errors
from webapp.patterns.backend import Timeouts
from webapp.patterns.fallback.breakers import MemoryBreakers
from webapp.patterns.fallback.chain import Chain, Step
from webapp.patterns.fallback.execution import digest_of, needs, shape_of
from webapp.patterns.types import Attempt, AttemptLog, Delta, Form, Request, Response, StreamChunk

HELLO = Request.chat([{"role": "user", "content": "Hi"}])


class Fake:
    """A backend that raises or answers what it is given, call by call."""

    capabilities: dict[str, bool] = {}
    timeouts = Timeouts()
    base_url = "http://upstream/v1"

    def __init__(self, name: str, *script: errors.BackendError | str, **fields: Any) -> None:
        self.name, self._script = name, list(script)
        self.asked: list[tuple[Request, Timeouts | None]] = []
        self.__dict__.update(fields)

    def _next(self, request: Request, timeouts: Timeouts | None, trail: AttemptLog | None) -> str:
        self.asked.append((request, timeouts))
        item = self._script.pop(0) if self._script else f"from {self.name}"
        failed = isinstance(item, errors.BackendError)
        if trail is not None:
            why = item.message if isinstance(item, errors.BackendError) else ""
            trail.add(Attempt(self.name, str(request.body.get("model")), "failed" if failed else "ok", why, base_url=self.base_url))
        if isinstance(item, errors.BackendError):
            raise item
        return item

    async def send(self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None) -> Response:
        text = self._next(request, timeouts, trail)
        if trail is not None and trail.answer is not None:
            trail.answer.append(text)
        return Response(b"", {"choices": [{"message": {"content": text}}]})

    async def stream(
        self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None
    ) -> AsyncGenerator[StreamChunk, None]:
        text = self._next(request, timeouts, trail)
        for word in text.split():
            if trail is not None and trail.answer is not None:
                trail.answer.append(word)
            yield StreamChunk(b"", (Delta(text=word),))

    async def aclose(self) -> None: ...


def chain(*backends: Fake, breakers: MemoryBreakers | None = None, **options: Any) -> Chain:
    steps = [Step(backend, f"m-{backend.name}", group=place) for place, backend in enumerate(backends)]  # type: ignore[arg-type]
    return Chain("r", steps, breakers=breakers or MemoryBreakers(), **options)


# --- what a request needs, and how requests are told apart


def test_each_endpoint_and_feature_is_a_need() -> None:
    part = {"type": "image_url", "image_url": {"url": "x"}}
    messages = [{"role": "user", "content": [part]}, {"role": "user", "content": [{"type": "input_audio"}]}]
    assert needs(HELLO) == {"chat"}
    assert needs(Request({"input": ["a"]}, path="embeddings")) == {"embeddings"}
    assert needs(Request.chat(messages, tools=[{}], logprobs=True)) == {"chat", "tools", "logprobs", "vision", "audio"}


@pytest.mark.parametrize(
    ("request_", "needed", "shape"),
    [
        (HELLO, {"chat"}, "plain"),
        (HELLO, {"completions", "embeddings", "chat"}, "plain"),
        (HELLO, {"chat", "vision", "tools"}, "tools, vision"),
        (Request.chat([{"role": "user", "content": "x" * 16_001}]), {"chat", "tools"}, "long, tools"),
        (Request({"input": "x" * 16_001}, path="embeddings"), {"embeddings"}, "long"),
        (Request({"prompt": "x" * 16_001}, path="completions"), {"completions"}, "long"),
        (Request({"prompt": "x" * 16_000}, path="completions"), {"completions"}, "plain"),
        (Request({"input": "short", "prompt": "x" * 16_001}, path="embeddings"), {"embeddings"}, "plain"),
    ],
)
def test_the_shape_of_a_request_names_its_features(request_: Request, needed: set[str], shape: str) -> None:
    assert shape_of(request_, needed) == shape


def test_requests_differ_by_what_they_ask_and_by_nothing_else() -> None:
    same = digest_of(HELLO)
    assert len(same) == 16
    assert digest_of(HELLO.with_options(model="x", stream=True, stream_options={})) == same
    assert digest_of(HELLO.with_options(temperature=1)) != same
    assert digest_of(Request.chat([{"role": "user", "content": "Hello"}])) != same
    assert digest_of(Request.chat([{"role": "user", "content": "\ud800"}])) != same
    forms = [Request({}, path="audio/transcriptions", form=Form((), (), digest)) for digest in ("first", "second")]
    assert digest_of(forms[0]) != digest_of(forms[1])


# --- errors


async def test_an_unknown_outcome_of_all_steps_tells_each_text_once_and_the_wait() -> None:
    breakers = MemoryBreakers()
    breakers.cool("b", 30, "rate limit")
    log = AttemptLog()
    first = Fake("a", errors.ServerFailed("boom"))
    with pytest.raises(errors.AllFailed) as caught:
        await chain(first, Fake("b"), breakers=breakers).send(HELLO, trail=log)
    assert caught.value.message == ("No backend of 'r' could answer. a/m-a: boom; b/m-b: Not called for another 30 s: rate limit")
    assert caught.value.retry_after == pytest.approx(30, abs=1)
    assert isinstance(caught.value.__cause__, errors.ServerFailed)
    assert caught.value.attempts == log.attempts
    assert [(attempt.outcome, attempt.base_url) for attempt in log.attempts] == [("failed", first.base_url), ("skipped", first.base_url)]


async def test_only_the_latest_eight_texts_are_told() -> None:
    backends = [Fake(f"b{number}", errors.ServerFailed("boom")) for number in range(10)]
    with pytest.raises(errors.AllFailed) as caught:
        await chain(*backends).send(HELLO)
    assert caught.value.message.count("boom") == 8
    assert "b1/" not in caught.value.message
    assert caught.value.message.endswith("; b9/m-b9: boom")


async def test_what_no_step_can_do_is_refused_with_the_reason_of_each() -> None:
    blind = {"tools": False, "vision": False}
    request = Request.chat([{"role": "user", "content": [{"type": "image_url"}]}], tools=[{}])
    with pytest.raises(errors.CapabilityMissing) as caught:
        await chain(Fake("a", capabilities=blind), Fake("b", capabilities=blind)).send(request)
    assert caught.value.status == 400
    assert caught.value.message == "No backend of 'r' can do this. a: no tools, vision; b: no tools, vision"


async def test_models_that_load_are_told_apart_from_pauses() -> None:
    with pytest.raises(errors.AllCooling) as caught:
        await chain(Fake("a", errors.Loading("loading", retry_after=7))).send(HELLO)
    assert caught.value.message.startswith("'r' is still loading. Try again in 7 s")
    breakers = MemoryBreakers()
    breakers.cool("a", 30, "rate limit")
    with pytest.raises(errors.AllCooling) as caught:
        await chain(Fake("a"), breakers=breakers).send(HELLO)
    assert caught.value.message.startswith("'r' is unavailable for another 30 s")


async def test_an_empty_stream_is_a_bad_answer() -> None:
    log = AttemptLog()
    with pytest.raises(errors.AllFailed):
        async for _ in chain(Fake("a", "")).stream(HELLO, trail=log):
            pass
    with pytest.raises(errors.AllFailed) as caught:
        async for _ in chain(Fake("a", "")).stream(HELLO):
            pass
    assert "The stream was empty." in str(caught.value.__cause__)


# --- what is told to others


async def test_the_steps_timeouts_are_the_calls() -> None:
    backend = Fake("a")
    step = Step(backend, "m", first_token_timeout=3)  # type: ignore[arg-type]
    await Chain("r", [step], breakers=MemoryBreakers()).send(HELLO)
    timeouts = backend.asked[0][1]
    assert timeouts is not None
    assert timeouts.first_token == 3


async def test_the_observer_gets_the_text_of_the_answer_that_was_served() -> None:
    boom = errors.ServerFailed("boom")
    for backends in ([Fake("a")], [Fake("b", boom, boom, boom), Fake("a")]):
        whole, streamed, unobserved = AttemptLog(), AttemptLog(), AttemptLog()
        whole.answer, streamed.answer = [], []
        shared = chain(*backends)
        await shared.send(HELLO, trail=whole)
        async for _ in shared.stream(HELLO, trail=streamed):
            pass
        await shared.send(HELLO, trail=unobserved)
        assert (whole.answer, streamed.answer, unobserved.answer) == (["from a"], ["from", "a"], None)


async def test_changes_of_attempts_are_reported_as_they_happen() -> None:
    seen: list[str] = []
    await chain(Fake("b", errors.ServerFailed("boom")), Fake("a")).send(
        HELLO, trail=AttemptLog(lambda attempt: seen.append(attempt.backend))
    )
    assert seen[:1] == ["b"]
    assert seen[-1] == "a"


async def test_a_failure_is_noted_with_its_reason_and_the_backend_stays_well() -> None:
    breakers = MemoryBreakers()
    failing = Fake("a", *[errors.ServerFailed("out of memory")] * 5)
    for number in range(5):
        with pytest.raises(errors.AllFailed):
            await chain(failing, breakers=breakers).send(Request.chat([{"role": "user", "content": str(number)}]))
    assert breakers.health("a/m-a").why == "out of memory"
    assert breakers.health("a").state == "closed"


async def test_a_refused_key_pauses_the_model_with_its_reason_and_is_flagged() -> None:
    breakers = MemoryBreakers()
    flags: list[tuple[str, str]] = []
    refused = Fake("a", errors.AuthenticationFailed("bad key"), errors.AuthenticationFailed("bad key"))
    with pytest.raises(errors.PatternError):
        await chain(refused, breakers=breakers, on_flag=lambda name, error: flags.append((name, error.message))).send(HELLO)
    assert breakers.health("a/m-a").why == "bad key"
    assert breakers.health("a").state == "closed"
    assert flags == [("a", "bad key")]


async def test_only_a_rate_limit_counts_as_limited() -> None:
    breakers = MemoryBreakers()
    with pytest.raises(errors.PatternError):
        await chain(Fake("a", errors.RateLimited("slow down", retry_after=500)), breakers=breakers).send(HELLO)
    with pytest.raises(errors.PatternError):
        await chain(Fake("b", errors.Loading("loading", retry_after=500)), breakers=breakers).send(HELLO)
    assert (breakers.health("a/m-a").limited, breakers.health("b/m-b").limited) == (True, False)
    assert breakers.health("a/m-a").why == "slow down"


async def test_a_conflict_of_another_step_does_not_use_up_ones_own_second_try() -> None:
    first = Fake("a", errors.Conflict("busy", status=409), errors.Conflict("busy", status=409))
    second = Fake("b", errors.Conflict("busy", status=409))
    assert (await chain(first, second).send(HELLO)).text == "from b"
    assert (len(first.asked), len(second.asked)) == (2, 2)


async def test_a_long_request_is_cut_for_the_largest_window_that_it_overflowed() -> None:
    cuts: list[tuple[int | None, str]] = []

    async def truncate(_request: Request, window: int | None, model: str) -> Request | None:
        cuts.append((window, model))
        return HELLO if len(cuts) == 1 else None

    def overflow(window: int | None) -> errors.ContextOverflow:
        return errors.ContextOverflow("too long", window=window)

    long = Request.chat([{"role": "user", "content": "Long"}])
    backends = [Fake("a", overflow(100)), Fake("b", overflow(300)), Fake("c", overflow(None))]
    answer = await chain(*backends, truncate=truncate).send(long)
    assert cuts == [(300, "m-b")]
    assert answer.text == "from b"
    declared = Step(Fake("d", overflow(50)), "m", window=200)  # type: ignore[arg-type]  # its declared window counts
    small = Step(Fake("e"), "m", window=200)  # type: ignore[arg-type]
    cuts.clear()
    log = AttemptLog()
    await Chain("r", [declared, small], breakers=MemoryBreakers(), truncate=truncate).send(long, trail=log)
    assert cuts == [(200, "m")]
    assert "200 tokens is too small" in log.attempts[1].why


async def test_a_call_that_is_cancelled_gives_its_probe_back() -> None:
    clock = [0.0]
    breakers = MemoryBreakers(lambda: clock[0])
    for _ in range(5):
        breakers.failed("a/m-a", "boom")
    clock[0] = 31
    entered = asyncio.Event()

    class Hanging(Fake):
        async def send(self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None) -> Response:
            entered.set()
            await asyncio.sleep(60)
            raise AssertionError

    task = asyncio.create_task(chain(Hanging("a"), breakers=breakers).send(HELLO))
    await entered.wait()
    assert breakers.acquire("a/m-a") is not None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert breakers.acquire("a/m-a") is None
