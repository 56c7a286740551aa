"""The tests' own upstream: it must be able to do what it promises, or the tests over it prove nothing."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

import httpx2
import pytest

from tests.upstream import CUT, STALL, Upstream, chunk, closed_port, embedding, mute_port, says, silence, status, stream, tokens

ASK = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def ask(upstream: Upstream, **options: object) -> httpx2.Response:
    return httpx2.post(f"{upstream.base_url}/chat/completions", json={**ASK, **options}, timeout=5)


def test_it_answers_whole_or_streamed_as_the_request_asks(upstream: Upstream) -> None:
    upstream.default = says("Hello there", reasoning="hm")
    assert ask(upstream).json()["choices"][0]["message"]["content"] == "Hello there"
    lines = [line[6:] for line in ask(upstream, stream=True).text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    assert "".join(json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines) == "Hello there"
    assert upstream.requests[1].body["stream"] is True


def test_scripts_are_played_once_in_order(upstream: Upstream) -> None:
    upstream.script(status(503), status(418))
    assert [ask(upstream).status_code for _ in range(3)] == [503, 418, 200]


def test_a_cut_breaks_the_body_and_a_stall_never_ends_it(upstream: Upstream) -> None:
    upstream.script(stream(chunk({"content": "a"}), CUT), stream(chunk({"content": "a"}), STALL))
    with pytest.raises(httpx2.RemoteProtocolError):
        ask(upstream)
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{upstream.base_url}/chat/completions", json=ASK, timeout=0.2)
    assert upstream.requests[1].gone.wait(2)


def test_it_notices_a_client_that_goes_away(upstream: Upstream) -> None:
    upstream.default = silence
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{upstream.base_url}/chat/completions", json=ASK, timeout=0.1)
    assert upstream.requests[0].gone.wait(2)
    assert upstream.requests[0].ended.wait(2)


def test_it_paces_tokens_by_the_clock(upstream: Upstream) -> None:
    upstream.default = tokens(10, pace=0.02)
    began = time.monotonic()
    ask(upstream, stream=True)
    assert time.monotonic() - began > 0.17


def test_it_embeds_deterministically(upstream: Upstream) -> None:
    answer = httpx2.post(f"{upstream.base_url}/embeddings", json={"model": "m", "input": ["a b", "c"]}).json()
    assert answer["data"][1]["embedding"] == embedding("c")


def test_it_runs_a_batch(upstream: Upstream) -> None:
    line = json.dumps({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": ASK}).encode()
    uploaded = httpx2.post(f"{upstream.base_url}/files", files={"file": ("in.jsonl", line)}, data={"purpose": "batch"})
    file = uploaded.json()
    assert (file["bytes"], file["filename"], file["purpose"]) == (len(line), "in.jsonl", "batch")
    batch = httpx2.post(f"{upstream.base_url}/batches", json={"input_file_id": file["id"], "endpoint": "/v1/chat/completions"}).json()
    states = [httpx2.get(f"{upstream.base_url}/batches/{batch['id']}").json() for _ in range(2)]
    assert [state["status"] for state in states] == ["in_progress", "completed"]
    rows = httpx2.get(f"{upstream.base_url}/files/{states[1]['output_file_id']}/content").text.splitlines()
    assert json.loads(rows[0])["response"]["body"]["choices"][0]["message"]["content"] == "echo: Hi"


def test_several_run_at_once_and_stop_for_good(make_upstream: Callable[..., Upstream]) -> None:
    first, second = make_upstream(), make_upstream(tls=True)
    assert ask(first).status_code == 200
    with pytest.raises(httpx2.ConnectError, match="certificate"):
        ask(second)
    first.stop()
    with pytest.raises(httpx2.ConnectError):
        ask(first)


def test_a_closed_port_refuses_and_a_mute_one_hangs() -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", closed_port()), timeout=1)
    with mute_port() as port, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", port), timeout=0.3)
