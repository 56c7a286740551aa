"""Answers that lack what OpenAI's schema requires."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.upstream import chunk, sse
from webapp.gateway.repair import StreamMender, mend_answer
from webapp.patterns.types import Response


def mender(path: str = "chat/completions") -> StreamMender:
    return StreamMender(path=path, request_id="r1", model="m")


def decoded(raw: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: {")]


@pytest.mark.parametrize(
    "raw",
    [
        sse(chunk({"content": "a"})),
        sse(chunk({"content": "a"}), chunk({"content": "b"}, finish="stop"), "[DONE]"),
        sse(chunk(choices=[], usage={"total_tokens": 1})),
        b": comment\n\n",
        sse("[DONE]"),
        sse(chunk({"content": '"choices"'})),
    ],
)
def test_whole_chunks_pass_as_the_very_same_bytes(raw: bytes) -> None:
    assert mender().mend(raw) == raw


def test_a_bare_chunk_gets_what_is_required_and_keeps_what_it_has() -> None:
    raw = sse({"choices": [{"delta": {"content": "a"}, "extra": 1}]})
    [event] = decoded(mender().mend(raw))
    assert event.pop("created") > 1_700_000_000
    assert event == {
        "id": "chatcmpl-r1",
        "object": "chat.completion.chunk",
        "model": "m",
        "choices": [{"delta": {"content": "a"}, "extra": 1, "index": 0, "finish_reason": None}],
    }


def test_all_chunks_of_a_stream_get_the_same_id_and_time() -> None:
    one = mender()
    first, second = decoded(one.mend(sse({"choices": [{"delta": {}}]}))), decoded(one.mend(sse({"choices": [{"delta": {}}]})))
    assert first == second


def test_whole_events_around_a_bare_one_stay_as_they_are() -> None:
    good, bare = sse(chunk({"content": "é"})), sse({"choices": [{"delta": {"content": "x"}}]})
    mended = mender().mend(b": ping\n\n" + good + bare + b"data: [DONE]\n\n")
    assert mended.startswith(b": ping\n\n" + good)
    assert mended.endswith(b"data: [DONE]\n\n")
    assert len(decoded(mended)) == 2


def test_a_bare_text_completion_gets_no_delta() -> None:
    [event] = decoded(mender("completions").mend(sse({"choices": [{"text": "a"}]})))
    assert event["object"] == "text_completion"
    assert event["choices"] == [{"text": "a", "index": 0, "finish_reason": None, "logprobs": None}]


def test_a_whole_answer_is_completed_only_where_it_must_be() -> None:
    bare = {"choices": [{"message": {"content": "a"}}], "x": 1}
    body = json.loads(mend_answer(Response(b"", bare), path="chat/completions", request_id="r1", model="m"))
    assert body["choices"][0] == {
        "index": 0,
        "finish_reason": "stop",
        "logprobs": None,
        "message": {"role": "assistant", "content": "a", "refusal": None},
    }
    assert (body["object"], body["model"], body["x"]) == ("chat.completion", "m", 1)
    raw = json.dumps(body, indent=1).encode()
    assert mend_answer(Response(raw, body), path="chat/completions", request_id="r2", model="n") == raw
