"""One server behind `OpenAIBackend`, over real HTTP (FAULTS 14, 15, 35-40)."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from tests.upstream import (
    CUT,
    STALL,
    USAGE,
    Piece,
    Received,
    Reply,
    Upstream,
    Wire,
    chunk,
    closed_port,
    embeds,
    endless,
    error,
    hang_up,
    html,
    mute_port,
    says,
    silence,
    sse,
    status,
    stream,
    tokens,
)  # fmt: skip
from webapp.patterns import errors
from webapp.patterns.backend import Backend, Server, Timeouts
from webapp.patterns.http.response import Httpx2Reply
from webapp.patterns.openai import response_reader
from webapp.patterns.openai.attempt_recorder import Prices
from webapp.patterns.openai.backend import OpenAIBackend
from webapp.patterns.redaction import Redactor
from webapp.patterns.streaming import Accumulator
from webapp.patterns.types import AttemptLog, ModelInfo, Request, StreamChunk, Usage

HELLO = Request.chat([{"role": "user", "content": "Hi"}], model="m")
QUICK = Timeouts(connect=0.3, first_token=0.7, idle=0.4)
BUSY = Timeouts(connect=5, first_token=0.7, idle=0.4)
"""For who connects: on a busy machine that may take longer."""


@pytest.fixture
async def backend(upstream: Upstream) -> AsyncIterator[OpenAIBackend]:
    server = OpenAIBackend("up", upstream.base_url, timeouts=BUSY)
    yield server
    await server.aclose()


async def hear(server: Backend, request: Request = HELLO, trail: AttemptLog | None = None) -> list[StreamChunk]:
    return [packet async for packet in server.stream(request, trail=trail)]


def accumulated(packets: list[StreamChunk]) -> Accumulator:
    whole = Accumulator()
    for packet in packets:
        whole.add_packet(packet)
    return whole


async def failure(server: Backend, trail: AttemptLog | None = None) -> tuple[errors.BackendError, str]:
    """Return how a stream failed, and the text that came before."""
    whole = Accumulator()
    try:
        async for packet in server.stream(HELLO, trail=trail):
            whole.add_packet(packet)
    except errors.BackendError as error:
        return error, whole.text
    raise AssertionError("the stream did not fail")


# --- what goes out


async def test_it_is_a_backend_and_a_server(backend: OpenAIBackend) -> None:
    assert isinstance(backend, Backend)
    assert isinstance(backend, Server)


async def test_a_stream_comes_as_packets_and_the_attempt_is_kept(upstream: Upstream) -> None:
    changes: list[str] = []
    trail = AttemptLog(lambda attempt: changes.append(attempt.outcome))
    server = OpenAIBackend("up", upstream.base_url + "/", prices=Prices(input=1_000_000, output=2_000_000))
    packets = await hear(server, trail=trail)
    whole = accumulated(packets)
    assert (whole.text, whole.finish_reason, whole.usage) == ("Hello from upstream.", "stop", Usage(7, 3))
    assert packets[0].deltas[0].has_content
    [attempt] = trail.attempts
    assert (attempt.backend, attempt.model, attempt.outcome, attempt.usage, attempt.cost) == ("up", "m", "ok", Usage(7, 3), 13.0)
    assert attempt.first_token_ms is not None
    assert attempt.duration_ms is not None
    assert 0 < attempt.first_token_ms <= attempt.duration_ms
    assert attempt.request == upstream.requests[0].body
    assert attempt.base_url == upstream.base_url
    assert changes == ["running", "running", "ok"]


async def test_usage_is_asked_for_but_only_relayed_where_the_caller_asked(upstream: Upstream, backend: OpenAIBackend) -> None:
    def relayed(packets: list[StreamChunk]) -> bool:
        return b'"usage"' in b"".join(packet.raw for packet in packets)

    assert not relayed(await hear(backend))
    assert relayed(await hear(backend, HELLO.with_options(stream_options={"include_usage": True, "more": 1})))
    assert [request.body["stream_options"] for request in upstream.requests] == [
        {"include_usage": True},
        {"include_usage": True, "more": 1},
    ]


async def test_a_server_that_refuses_stream_options_is_not_asked_again(upstream: Upstream, backend: OpenAIBackend) -> None:
    upstream.script(error("Unknown parameter: stream_options", type="invalid_request_error", param="stream_options"))
    trail = AttemptLog()
    assert accumulated(await hear(backend, trail=trail)).text == "Hello from upstream."
    await hear(backend)
    assert ["stream_options" in request.body for request in upstream.requests] == [True, False, False]
    assert trail.attempts[0].request == upstream.requests[1].body
    upstream.script(error("stream_options again"))
    assert isinstance((await failure(backend))[0], errors.ParameterRefused)


async def test_the_body_goes_out_as_it_came_without_nulls(upstream: Upstream, backend: OpenAIBackend) -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "\ud83d né", "name": None}],
        "temperature": None,
        "x_unknown": {"a": None},
    }
    await backend.send(Request(body))
    assert upstream.requests[0].body == {"model": "m", "messages": [{"role": "user", "content": "\ud83d né"}], "x_unknown": {"a": None}}


async def test_a_body_that_is_no_json_is_the_callers_mistake(upstream: Upstream, backend: OpenAIBackend) -> None:
    for value in (float("nan"), object()):
        with pytest.raises(errors.InputError, match="cannot be sent as JSON"):
            await backend.send(HELLO.with_options(temperature=value))
    assert upstream.requests == []


async def test_only_our_own_headers_go_out(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's variables in the environment are not for other vendors' servers."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-openai")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "authorization: Bearer ambient-secret\nx-ambient: ambient-secret")
    await hear(OpenAIBackend("up", upstream.base_url, api_key=" key-1234 \n", headers={"X-Team": "blue-team"}))
    await hear(OpenAIBackend("up", upstream.base_url))
    first, second = (request.headers for request in upstream.requests)
    assert (first["authorization"], first["x-team"], first["content-type"]) == ("Bearer key-1234", "blue-team", "application/json")
    assert "authorization" not in second
    assert "secret" not in json.dumps([first, second])


@pytest.mark.parametrize("options", [{"api_key": "key\u20ac"}, {"api_key": "a\nb"}, {"headers": {"X-A": "a\r\nX-B: c"}}])
def test_a_key_that_no_header_can_carry_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(errors.InputError, match="no HTTP header can carry") as caught:
        OpenAIBackend("up", "http://127.0.0.1/v1", **options)
    assert "key" not in str(caught.value).replace("API key", "")


async def test_several_calls_share_one_connection(upstream: Upstream, backend: OpenAIBackend) -> None:
    for _ in range(3):
        await hear(backend)
        await backend.send(HELLO)
    assert len({request.headers["host"] for request in upstream.requests}) == 1
    assert len(upstream.peers) == 1


async def test_calls_beyond_the_cap_wait_their_turn(upstream: Upstream) -> None:
    running: list[int] = [0]

    async def counted(received: Received, wire: Wire) -> None:
        running.append(running[-1] + 1)
        await asyncio.sleep(0.03)
        running.append(running[-1] - 1)
        await says("x")(received, wire)

    upstream.default = counted
    server = OpenAIBackend("up", upstream.base_url, max_concurrency=2)
    await asyncio.gather(*(hear(server) for _ in range(6)))
    assert (max(running), running[-1]) == (2, 0)


async def test_a_call_that_gets_no_turn_in_time_is_sent_elsewhere(upstream: Upstream) -> None:
    upstream.default = silence
    server = OpenAIBackend("up", upstream.base_url, max_concurrency=1, timeouts=BUSY)
    first = asyncio.create_task(failure(server))
    await asyncio.sleep(0.05)
    server.timeouts = Timeouts(first_token=0.1)
    caught, _ = await failure(server)
    assert isinstance(caught, errors.RateLimited)
    assert caught.retry_after == 1
    assert isinstance((await first)[0], errors.TimedOut)


async def test_a_call_that_is_cancelled_while_it_waits_is_never_sent(upstream: Upstream) -> None:
    upstream.default = silence
    server = OpenAIBackend("up", upstream.base_url, max_concurrency=1)
    first, waiting = asyncio.create_task(hear(server)), asyncio.create_task(hear(server))
    await asyncio.to_thread(upstream.wait_for, 1)
    for task in (waiting, first):
        task.cancel()
    await asyncio.wait({first, waiting})
    assert first.cancelled()
    assert waiting.cancelled()
    assert len(upstream.requests) == 1


# --- what comes back


async def test_a_whole_answer_comes_with_its_usage_and_headers(upstream: Upstream, backend: OpenAIBackend) -> None:
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}], "usage": USAGE}
    upstream.script(status(200, body, headers={"x-request-id": "r1", "set-cookie": "a=b", "x-ratelimit-limit-requests": "9"}))
    trail = AttemptLog()
    answer = await backend.send(HELLO, trail=trail)
    assert (answer.text, answer.finish_reason, json.loads(answer.raw)) == ("Hi", "stop", body)
    assert answer.headers == {"x-request-id": "r1", "x-ratelimit-limit-requests": "9"}
    assert trail.attempts[0].usage == Usage(7, 3)
    assert "stream" not in upstream.requests[0].body


async def test_embeddings_and_legacy_completions_go_their_own_ways(upstream: Upstream, backend: OpenAIBackend) -> None:
    upstream.embeds = embeds(4)
    answer = await backend.send(Request.embedding(["a", "b"], model="e"))
    assert [len(row["embedding"]) for row in answer.body["data"]] == [4, 4]
    legacy = Request({"model": "m", "prompt": "Once"}, path="completions")
    assert (await backend.send(legacy)).body["choices"][0]["text"] == "Hello from upstream."
    assert accumulated(await hear(backend, legacy)).text == "Hello from upstream."
    assert [request.path for request in upstream.requests] == ["/v1/embeddings", "/v1/completions", "/v1/completions"]


async def test_tool_calls_of_whole_answers_are_mended(upstream: Upstream, backend: OpenAIBackend) -> None:
    calls = [
        {"function": {"name": "f", "arguments": {"x": 1}}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    upstream.script(status(200, {"choices": [{"message": {"content": None, "tool_calls": calls}, "finish_reason": "stop"}]}))
    answer = await backend.send(HELLO)
    first, second = answer.message["tool_calls"]
    assert (first["function"], second, answer.finish_reason) == ({"name": "f", "arguments": '{"x": 1}'}, calls[1], "tool_calls")
    assert first["id"].startswith("call_")
    assert json.loads(answer.raw) == answer.body


async def test_a_server_that_does_not_stream_is_heard_all_the_same(upstream: Upstream, backend: OpenAIBackend) -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}], "usage": USAGE}
    raw = json.dumps(body)
    upstream.script(stream(raw[:20], 0.02, raw[20:], content_type="application/json"))
    packets = await hear(backend)
    assert (accumulated(packets).text, accumulated(packets).usage) == ("Hi", Usage(7, 3))
    assert b'"delta":{"role":"assistant","content":"Hi"}' in packets[0].raw
    assert packets[-1].raw.endswith(b"data: [DONE]\n\n")


async def test_a_compressed_stream_is_decompressed(upstream: Upstream, backend: OpenAIBackend) -> None:
    body = gzip.compress(sse(chunk({"content": "Hi"}), chunk(finish="stop")))
    upstream.script(stream(body, headers={"content-encoding": "gzip"}), stream(b"no gzip", headers={"content-encoding": "gzip"}))
    assert accumulated(await hear(backend)).text == "Hi"
    assert isinstance((await failure(backend))[0], errors.BadAnswer)


async def test_what_opens_the_stream_is_kept_for_the_relay(upstream: Upstream, backend: OpenAIBackend) -> None:
    """FAULTS 32: the role chunk has no content; it comes with the first that has some."""
    upstream.script(
        stream(": hello\n\n", chunk({"role": "assistant"}), 0.02, chunk({"content": "Hi"}), chunk(finish="stop"), "data: [DONE]\n\n")
    )
    packets = await hear(backend)
    assert packets[0].raw.startswith(b": hello\n\n")
    assert b'"role": "assistant"' in packets[0].raw
    assert packets[0].deltas[0].text == "Hi"


@pytest.mark.parametrize(
    "end",
    [
        (),
        ("data: [DONE]",),
        (CUT,),
        (STALL,),
        ("data: [DONE]\n\n", STALL),
        ("data: [DONE]\n\n", 0.01, ": bye\n\n"),
        ("data: [DONE]\n\n", CUT),
    ],
)
async def test_a_finished_answer_is_whole_however_its_stream_ends(upstream: Upstream, backend: OpenAIBackend, end: Any) -> None:
    """FAULTS 36: no `[DONE]`."""
    upstream.script(stream(chunk({"content": "Hi"}), chunk(finish="stop"), *end))
    assert accumulated(await hear(backend)).text == "Hi"


async def test_an_answer_of_nothing_is_an_answer_when_it_is_finished(upstream: Upstream, backend: OpenAIBackend) -> None:
    upstream.script(stream(chunk({"role": "assistant"}), chunk(finish="length")))
    assert accumulated(await hear(backend)).finish_reason == "length"


# --- failures before the first content: the next step may be tried


GOOD_HEAD = chunk({"role": "assistant", "content": ""})
PINGS: list[Piece] = [": ping\n\n", 0.05] * 100
BEFORE: dict[str, tuple[Reply, type[errors.BackendError]]] = {
    "HTML": (html(), errors.BadAnswer),
    "HTML as a stream": (stream("<html>"), errors.BadAnswer),
    "broken JSON": (status(200, "{"), errors.BadAnswer),
    "a JSON list": (status(200, "[]"), errors.BadAnswer),
    "no choices": (status(200, {"choices": []}), errors.BadAnswer),
    "choices of nothing": (status(200, {"choices": [7]}), errors.BadAnswer),
    "an error object": (status(200, {"error": {"message": "boom", "code": 503}}), errors.ServerFailed),
    "an error event": (stream(GOOD_HEAD, {"error": {"message": "boom", "code": 429}}), errors.RateLimited),
    "broken events": (stream("data: {\n\n"), errors.BadAnswer),
    "an empty body": (stream(""), errors.BadAnswer),
    "only [DONE]": (stream("data: [DONE]\n\n"), errors.BadAnswer),
    "the role, then [DONE]": (stream(GOOD_HEAD, "data: [DONE]\n\n"), errors.BadAnswer),
    "usage, then the end": (stream(chunk(choices=[], usage=USAGE)), errors.BadAnswer),
    "an error at the end": (stream(GOOD_HEAD, 'data: {"error": "boom"}'), errors.ServerFailed),
    "a cut": (stream(GOOD_HEAD, CUT), errors.Unreachable),
    "a hang-up": (hang_up, errors.Unreachable),
    "silence": (silence, errors.TimedOut),
    "a stall after the headers": (stream(STALL), errors.TimedOut),
    "a stall after the role": (stream(GOOD_HEAD, STALL), errors.TimedOut),
    "comments without end": (stream(*PINGS), errors.TimedOut),
    "a flood of comments": (stream(*[": " + "x" * 50_000 + "\n\n"] * 40, 0.1), errors.BadAnswer),
    "a line over 1 MB": (stream("data: " + "x" * 1_100_000 + "\n\n"), errors.BadAnswer),
    "a redirect": (status(307, headers={"location": "http://169.254.169.254/"}), errors.BadAnswer),
    "no content": (status(204, b""), errors.BadAnswer),
}


@pytest.mark.parametrize(("reply", "kind"), BEFORE.values(), ids=BEFORE)
async def test_a_failure_before_the_first_content_leaves_nothing(
    upstream: Upstream, backend: OpenAIBackend, reply: Reply, kind: Any
) -> None:
    """FAULTS 37-39."""
    upstream.script(reply)
    trail = AttemptLog()
    began = time.monotonic()
    caught, text = await failure(backend, trail)
    assert (type(caught), text) == (kind, "")
    assert caught.try_next
    assert time.monotonic() - began < 4
    assert (trail.attempts[0].outcome, trail.attempts[0].error) == ("failed", kind.__name__)
    assert len(upstream.requests) == 1


WHOLE = {name: BEFORE[name] for name in ("HTML", "broken JSON", "a JSON list", "no choices", "an error object", "a hang-up", "a redirect")}


@pytest.mark.parametrize(("reply", "kind"), WHOLE.values(), ids=WHOLE)
async def test_whole_answers_fail_the_same_way(upstream: Upstream, backend: OpenAIBackend, reply: Reply, kind: Any) -> None:
    """FAULTS 39."""
    upstream.script(reply)
    with pytest.raises(kind):
        await backend.send(HELLO)


WHOLE_PIECES = ('{"choices": [{"message": {"role": "assistant", ', '"content": "Hi"}, "finish_reason": ', '"stop"}]}')


async def test_a_whole_answer_that_stalls_once_it_began_is_given_up_after_the_time_between_tokens(
    upstream: Upstream, backend: OpenAIBackend
) -> None:
    """FAULTS 37: not after ten times the time to a first token, which is for what thinks before it begins."""
    upstream.script(stream(WHOLE_PIECES[0], STALL, content_type="application/json"))
    backend.timeouts = Timeouts(first_token=60, idle=0.1)
    began = time.monotonic()
    with pytest.raises(errors.TimedOut) as caught:
        await backend.send(HELLO)
    assert caught.value.try_next
    assert time.monotonic() - began < 4


async def test_a_whole_answer_may_begin_late_and_go_on_slowly(upstream: Upstream, backend: OpenAIBackend) -> None:
    upstream.script(stream(0.6, *[piece for part in WHOLE_PIECES for piece in (part, 0.25)], content_type="application/json"))
    backend.timeouts = Timeouts(first_token=0.4, idle=0.5)
    assert (await backend.send(HELLO)).text == "Hi"


async def test_whole_answers_are_bounded_in_time_and_bytes(upstream: Upstream, backend: OpenAIBackend) -> None:
    upstream.script(stream('{"choices":', STALL, content_type="application/json"), silence)
    backend.timeouts = Timeouts(first_token=0.02)
    for _ in range(2):
        with pytest.raises(errors.TimedOut):
            await backend.send(HELLO)
    backend.timeouts = QUICK
    large = Httpx2Reply(httpx2.Response(200, content=b"x" * 2000))
    with pytest.raises(errors.BadAnswer, match="longer than"):
        await response_reader.read_whole(large, time.monotonic() + 9, backend.redactor, limit=1000)
    upstream.script(stream("{", CUT), status(200, {"data": []}))
    with pytest.raises(errors.Unreachable, match="before the answer was complete"):
        await backend.send(HELLO)
    with pytest.raises(errors.BadAnswer, match="no embeddings"):
        await backend.send(Request.embedding(["a"]))


@pytest.mark.parametrize("code", [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529])
async def test_each_status_is_an_error_of_its_kind(upstream: Upstream, backend: OpenAIBackend, code: int) -> None:
    """FAULTS 40: the whole table is in test_refusals."""
    upstream.script(status(code, headers={"retry-after": "3"}))
    caught, _ = await failure(backend)
    assert (caught.status, caught.retry_after) == (code, 3)
    assert caught.try_next == (code not in {400, 413, 422})


async def test_a_refusal_that_never_ends_is_cut_short(upstream: Upstream, backend: OpenAIBackend) -> None:
    bomb = gzip.compress(b"x" * 5_000_000)
    upstream.script(
        stream(*["x" * 100_000] * 30, code=500), stream("x", STALL, code=500), status(500, bomb, headers={"content-encoding": "gzip"})
    )
    assert isinstance((await failure(backend))[0], errors.ServerFailed)
    assert isinstance((await failure(backend))[0], errors.TimedOut)
    caught, _ = await failure(backend)
    assert isinstance(caught, errors.ServerFailed | errors.BadAnswer)
    assert len(caught.message) < 1000


@pytest.mark.parametrize(
    ("address", "kind", "why"),
    [
        ("http://127.0.0.1:{closed}/v1", errors.Unreachable, "Could not connect: Connection refused"),
        ("http://no-such-host.invalid/v1", errors.Unreachable, "Could not connect"),
        ("ftp://127.0.0.1/v1", errors.Unreachable, "http"),
        ("http://127.0.0.1:{mute}/v1", errors.ConnectTimedOut, "connect in time"),
        ("https://127.0.0.1:{mute}/v1", errors.ConnectTimedOut, "connect in time"),
        ("{tls}", errors.Unreachable, "certificate"),
        ("http://[::1/v1", errors.Unreachable, "not a URL"),
    ],
)
async def test_a_server_that_cannot_be_reached_says_why(make_upstream: Callable[..., Upstream], address: str, kind: Any, why: str) -> None:
    """FAULTS 40: refused connection, DNS failure, bad certificate, connect timeout."""
    tls = make_upstream(tls=True).base_url if "tls" in address else ""
    with mute_port() as mute:
        server = OpenAIBackend("up", address.format(closed=closed_port(), mute=mute, tls=tls), timeouts=QUICK)
        caught, _ = await failure(server)
    assert type(caught) is kind
    assert why in caught.message


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "[::ffff:169.254.169.254]", "metadata.google.internal"])
async def test_metadata_addresses_are_never_called(host: str) -> None:
    """FAULTS 14: link-local and metadata addresses (decimal, IPv6-mapped)."""
    caught, _ = await failure(OpenAIBackend("up", f"http://{host}/v1", timeouts=QUICK))
    assert "metadata address" in caught.message


async def test_redirects_are_not_followed(upstream: Upstream, backend: OpenAIBackend, make_upstream: Callable[..., Upstream]) -> None:
    """FAULTS 14: by redirect. None is followed, wherever it leads."""
    elsewhere = make_upstream()
    for code in (302, 308):
        upstream.script(status(code, headers={"location": f"{elsewhere.base_url}/chat/completions"}))
        assert isinstance((await failure(backend))[0], errors.BadAnswer)
    assert elsewhere.requests == []


# --- failures after the first content


@pytest.mark.parametrize(
    "end",
    [
        pytest.param((CUT,), id="cut"),
        pytest.param((STALL,), id="stall"),
        pytest.param((), id="no finish reason"),
        pytest.param(({"error": {"message": "boom", "code": 429}},), id="error object"),
        pytest.param(("data: {\n\n",), id="broken event"),
        pytest.param((chunk(finish="abort"),), id="aborted"),
    ],
)
async def test_a_failure_in_mid_stream_keeps_the_partial(upstream: Upstream, backend: OpenAIBackend, end: Any) -> None:
    """FAULTS 37: failure, partial kept."""
    upstream.script(stream(chunk({"content": "Once"}), *end))
    trail = AttemptLog()
    caught, text = await failure(backend, trail)
    assert (type(caught), text) == (errors.StreamBroken, "Once")
    assert trail.attempts[0].outcome == "partial"


async def test_a_stream_that_never_ends_is_bounded(upstream: Upstream, backend: OpenAIBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 38: in time, and in bytes."""
    upstream.default = endless(pace=0.001)
    backend.timeouts = Timeouts(idle=5, total=0.3)
    caught, text = await failure(backend)
    assert "took longer than 0.3 s" in caught.message
    assert text.startswith("more more")
    monkeypatch.setattr(response_reader.PacketReader.__init__, "__kwdefaults__", {"hide_usage": False, "max_stream": 20_000})
    backend.timeouts = Timeouts()
    assert "longer than any answer" in (await failure(backend))[0].message


# --- going away


@pytest.mark.parametrize("reply", [silence, stream(STALL), stream(chunk({"content": "a"}), STALL), endless(pace=0.01)])
async def test_cancelling_closes_the_upstream_within_a_second(upstream: Upstream, backend: OpenAIBackend, reply: Reply) -> None:
    upstream.default = reply
    backend.timeouts = Timeouts()
    trail = AttemptLog()
    task = asyncio.create_task(hear(backend, trail=trail))
    await asyncio.to_thread(upstream.wait_for, 1)
    await asyncio.sleep(0.05)
    task.cancel()
    cancelled = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(upstream.requests[0].gone.wait, 1)
    assert (upstream.requests[0].gone_at or 0) - cancelled < 1
    assert trail.attempts[0].outcome == "cancelled"


async def test_closing_the_generator_closes_the_upstream(upstream: Upstream, backend: OpenAIBackend) -> None:
    upstream.default = endless(pace=0.01)
    packets = backend.stream(HELLO)
    await anext(packets)
    await packets.aclose()
    assert await asyncio.to_thread(upstream.requests[0].gone.wait, 1)


async def test_a_client_that_leaves_after_the_last_chunk_cancels_nothing(upstream: Upstream, backend: OpenAIBackend) -> None:
    """The openai package closes its connection as soon as it has read `[DONE]`."""
    trail = AttemptLog()
    packets = backend.stream(HELLO, trail=trail)
    async for packet in packets:
        if b"[DONE]" in packet.raw:
            break
    await packets.aclose()
    assert trail.attempts[0].outcome == "ok"


# --- secrets (FAULTS 15)

KEY = "gw-Very/Secret+Key=1234567890"


@pytest.mark.parametrize(
    "reply",
    [
        error(f"Incorrect API key provided: {KEY}", code=401),
        error("bad", code=400, echoed={"headers": [f"Bearer {KEY}"], KEY: 1}),
        error("bad key gw-Very%2FSecret%2BKey%3D1234567890", code=500),
        status(500, f"Traceback: headers = {{'Authorization': 'Bearer {KEY}', 'X-Tenant': 'tenant-7-secret'}}"),
        stream({"error": {"message": f"no such key {KEY}"}}),
        status(200, {"error": f"no such key {KEY}"}),
        error("Incorrect API key provided: sk-proj-abcdefghijklmnop1234", code=401),
    ],
)
async def test_a_key_that_the_server_echoes_is_removed(upstream: Upstream, reply: Reply) -> None:
    upstream.script(reply)
    server = OpenAIBackend("up", upstream.base_url, api_key=KEY, headers={"X-Tenant": "tenant-7-secret"})
    trail = AttemptLog()
    caught, _ = await failure(server, trail)
    shown = json.dumps([caught.message, caught.body, repr(caught), trail.attempts[0].why, trail.attempts[0].request])
    assert "[redacted]" in shown
    for secret in ("Secret", "1234567890", "tenant-7", "abcdefghijklmnop"):
        assert secret not in shown
    chain = [caught, caught.__cause__, caught.__context__]
    assert all(KEY not in str(part) for part in chain if part is not None)


# --- models, files, batches


async def test_models_are_listed_with_their_windows(upstream: Upstream, backend: OpenAIBackend) -> None:
    upstream.models = [{"id": "a", "max_model_len": 4096, "owned_by": "vllm"}, {"id": "b"}]
    assert await backend.models() == [ModelInfo("a", 4096, "vllm"), ModelInfo("b")]
    upstream.script(status(404), html(), path="/v1/models")
    for kind in (errors.ModelMissing, errors.BadAnswer):
        with pytest.raises(kind):
            await backend.models()


async def test_a_batch_goes_from_upload_to_results(upstream: Upstream, backend: OpenAIBackend) -> None:
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "Hi"}]}}
    content = json.dumps(line).encode() + b"\n"
    file = await backend.upload_file("in.jsonl", content)
    assert (file["filename"], file["bytes"], file["purpose"]) == ("in.jsonl", len(content), "batch")
    assert (await backend.retrieve_file(file["id"]))["id"] == file["id"]
    batch = await backend.create_batch(file["id"], "/v1/chat/completions", metadata={"by": "test"})
    assert batch["metadata"] == {"by": "test"}
    assert (await backend.create_batch(file["id"], "/v1/embeddings"))["endpoint"] == "/v1/embeddings"
    states = [(await backend.retrieve_batch(batch["id"])) for _ in range(2)]
    assert [state["status"] for state in states] == ["in_progress", "completed"]
    rows = b"".join([data async for data in backend.file_content(states[1]["output_file_id"])])
    assert json.loads(rows)["response"]["body"]["choices"][0]["message"]["content"] == "echo: Hi"
    assert [known["id"] for known in await backend.list_batches(limit=5, after="batch_0")] == ["batch_2", batch["id"]]
    assert upstream.requests[-1].query == {"limit": "5", "after": "batch_0"}
    assert (await backend.cancel_batch(batch["id"]))["status"] == "cancelling"
    assert (await backend.delete_file(file["id"]))["deleted"] is True
    with pytest.raises(errors.ModelMissing):
        await backend.retrieve_file(file["id"])


async def test_a_file_that_breaks_off_or_stalls_is_an_error(upstream: Upstream, backend: OpenAIBackend) -> None:
    backend.timeouts = QUICK
    for end, kind in ((CUT, errors.Unreachable), (STALL, errors.TimedOut)):
        upstream.script(stream("a line\n", end, content_type="application/jsonl"), path="/v1/files/file-1/content")
        with pytest.raises(kind):
            _ = [data async for data in backend.file_content("file-1")]


async def test_a_call_past_the_hot_ones_is_bounded_and_says_what_failed(upstream: Upstream, backend: OpenAIBackend) -> None:
    upstream.script(silence, hang_up, status(500, {"error": {"message": "no"}}), path="/v1/batches/batch_1")
    backend.timeouts = QUICK
    for kind in (errors.TimedOut, errors.Unreachable, errors.ServerFailed):
        with pytest.raises(kind):
            await backend.retrieve_batch("batch_1")


async def test_a_file_may_be_read_from_disk_while_it_is_sent(upstream: Upstream, backend: OpenAIBackend) -> None:
    content = b"x" * 3_000_000
    file = await backend.upload_file("big.jsonl", io.BytesIO(content))
    assert upstream.files.contents[file["id"]] == content


async def test_ids_cannot_lead_elsewhere(upstream: Upstream, backend: OpenAIBackend) -> None:
    with pytest.raises(errors.BackendError):
        await backend.retrieve_file("../models?x=1")
    assert upstream.requests[0].path == "/v1/files/../models?x=1"


async def test_a_client_of_ones_own_is_used_and_closed(upstream: Upstream) -> None:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=sse(chunk({"content": "Hi"}), chunk(finish="stop"))))
    client = httpx2.AsyncClient(transport=transport)
    server = OpenAIBackend("inside", "http://builtin/v1", http_client=client)
    assert accumulated(await hear(server)).text == "Hi"
    await server.aclose()
    assert client.is_closed
    await OpenAIBackend("never used", "http://builtin/v1").aclose()


async def test_a_failure_of_the_transport_that_has_no_name_yet_is_still_ours() -> None:
    def fail(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("slow")

    caught, _ = await failure(OpenAIBackend("inside", "http://x/v1", http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(fail))))
    assert isinstance(caught, errors.TimedOut)


def test_a_failure_without_a_text_is_told_by_its_cause() -> None:
    error = httpx2.ConnectError("")
    error.__cause__ = OSError("no route")
    assert response_reader.unreachable(error, Redactor()).message == "Could not connect: no route"
    assert response_reader.unreachable(httpx2.WriteError(""), Redactor()).message == "The connection broke: WriteError"


def test_prices_count_cached_tokens_apart() -> None:
    usage = Usage(prompt_tokens=1_000_000, completion_tokens=500_000, cached_tokens=400_000)
    assert Prices(2, 4).cost(usage) == pytest.approx(4.0)
    assert Prices(2, 4, cached=0.5).cost(usage) == pytest.approx(1.2 + 0.2 + 2.0)


async def test_prices_may_differ_by_model(upstream: Upstream) -> None:
    server = OpenAIBackend("up", upstream.base_url, prices=Prices(1, 1), model_prices={"m": Prices(1_000_000, 0)})
    trail = AttemptLog()
    await server.send(HELLO, trail=trail)
    await server.send(HELLO.with_options(model="other"), trail=trail)
    assert [attempt.cost for attempt in trail.attempts] == [7.0, pytest.approx(10e-6)]


async def test_256_streams_at_once_all_complete(upstream: Upstream) -> None:
    upstream.default = tokens(10, pace=0.02)
    server = OpenAIBackend("up", upstream.base_url)
    heard = await asyncio.gather(*(hear(server) for _ in range(256)))
    assert {accumulated(packets).text for packets in heard} == {" ".join(f"tok{number}" for number in range(10))}
    await server.aclose()
