"""Requests and answers that pass as they came: moderation, reranking, audio and images."""

from __future__ import annotations

from typing import Any

import pytest

from tests.upstream import Reply, Upstream, html, status, stream
from webapp.patterns import OpenAIBackend, Request, errors
from webapp.patterns.openai.relay import RelayExchange, form_content, read_usage
from webapp.patterns.types import AttemptLog, Form, FormFile, Usage

RERANK = Request({"model": "m", "query": "q", "documents": ["a"], "top_n": None}, "rerank")
FILE = FormFile("file", 'a"\r\n.wav', "audio/wav\r\nx: y", b"RIFF")
FORM = Form((("model", "route"), ("tag", "a"), ("tag", "b")), (FILE,), "d")


async def send(upstream: Upstream, request: Request, reply: Reply) -> tuple[Any, AttemptLog]:
    upstream.paths[f"/v1/{request.path}"] = reply
    trail = AttemptLog()
    async with OpenAIBackend("b", upstream.base_url) as backend:
        return await backend.send(request, trail=trail), trail


async def chunks(upstream: Upstream, reply: Reply) -> list[Any]:
    upstream.paths["/v1/audio/speech"] = reply
    async with OpenAIBackend("b", upstream.base_url) as backend:
        return [chunk async for chunk in backend.stream(Request({"model": "m", "input": "Hi"}, "audio/speech"))]


async def test_json_passes_and_is_counted(upstream: Upstream) -> None:
    answered = {"results": [{"index": 0, "relevance_score": 1.0}], "usage": {"total_tokens": 9}}
    response, trail = await send(upstream, RERANK, status(200, answered))
    assert (response.body, response.content_type) == (answered, "")
    assert trail.usage == Usage(9)
    assert upstream.requests[0].body == {"model": "m", "query": "q", "documents": ["a"]}


async def test_a_list_and_odd_numbers_are_written_anew(upstream: Upstream) -> None:
    response, _ = await send(upstream, RERANK, status(200, '[{"index": 0, "score": NaN}]'))
    assert response.raw == b'{"object": "list", "data": [{"index": 0, "score": null}]}'


async def test_a_form_goes_out_with_the_steps_model(upstream: Upstream) -> None:
    request = Request({"model": "whisper", "tag": ["a", "b"]}, "audio/transcriptions", form=FORM)
    response, trail = await send(upstream, request, status(200, "Hello.", content_type="text/plain"))
    assert (response.raw, response.body, response.content_type) == (b"Hello.", {}, "text/plain")
    assert upstream.requests[0].headers["content-type"].startswith("multipart/form-data; boundary=")
    assert trail.attempts[0].model == "whisper"


async def test_an_answer_without_a_type_is_bytes(upstream: Upstream) -> None:
    response, _ = await send(upstream, Request({"model": "m"}, "audio/translations", form=FORM), status(200, b"x", content_type=""))
    assert response.content_type == "application/octet-stream"


@pytest.mark.parametrize("reply", [html(), status(200, {"no": "results"}), status(200, {"error": {"message": "No."}})])
async def test_a_bad_answer_is_refused(upstream: Upstream, reply: Reply) -> None:
    with pytest.raises(errors.BackendError):
        await send(upstream, RERANK, reply)


async def test_audio_passes_as_it_comes(upstream: Upstream) -> None:
    found = await chunks(upstream, stream(b"ID3", 0.02, b"more", content_type="audio/mpeg"))
    assert b"".join(chunk.raw for chunk in found) == b"ID3more"
    assert found[0].content_type == "audio/mpeg"


async def test_audio_without_a_type_is_bytes(upstream: Upstream) -> None:
    assert (await chunks(upstream, stream(b"ID3", content_type="")))[0].content_type == "application/octet-stream"


@pytest.mark.parametrize("reply", [html(), stream(content_type="audio/mpeg")])
async def test_a_page_or_nothing_at_all_is_no_audio(upstream: Upstream, reply: Reply) -> None:
    with pytest.raises(errors.BadAnswer):
        await chunks(upstream, reply)


async def test_json_in_place_of_a_stream_passes(upstream: Upstream) -> None:
    [chunk] = await chunks(upstream, status(200, {"url": "https://x/y.mp3"}))
    assert chunk.raw == b'{"url": "https://x/y.mp3"}'
    assert RelayExchange(RERANK).as_events({"a": 1}) == b'{"a":1}'


def test_a_form_is_written_as_browsers_do() -> None:
    assert form_content(FORM, "B", model="m").decode() == (
        '--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
        '--B\r\nContent-Disposition: form-data; name="tag"\r\n\r\na\r\n'
        '--B\r\nContent-Disposition: form-data; name="tag"\r\n\r\nb\r\n'
        '--B\r\nContent-Disposition: form-data; name="file"; filename="a%22%0D%0A.wav"\r\n'
        "Content-Type: audio/wav  x: y\r\n\r\nRIFF\r\n"
        "--B--\r\n"
    )


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({}, None),
        ({"usage": "much"}, None),
        ({"meta": 1}, None),
        ({"usage": {"input_tokens": 3, "output_tokens": 2}}, Usage(3, 2)),
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 2}}, Usage(3, 2)),
        ({"usage": {"total_tokens": 7, "output_tokens": 2}}, Usage(5, 2)),
        ({"usage": {"seconds": 4}}, None),
        ({"meta": {"billed_units": {"search_units": 1, "input_tokens": 4}}}, Usage(4)),
        ({"meta": {"tokens": {"input_tokens": True, "output_tokens": -1}}}, None),
    ],
)
def test_the_usage_is_read_in_every_shape(body: Any, usage: Usage | None) -> None:
    assert read_usage(body) == usage
