"""Moderation, reranking, audio and images over routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.api import Api, Exchange
from tests.upstream import CUT, Reply, Upstream, error, html, status, stream
from webapp.backends.models import Attempt
from webapp.backends.runtime import registry
from webapp.backends.services import add_backend
from webapp.core.database import in_database
from webapp.gateway.http import CutAnswer

MakeUpstream = Callable[..., Upstream]
WAVE = b"RIFF\x00\x00\x00\x00WAVE"
MODERATED = {"id": "modr-1", "model": "m", "results": [{"flagged": False, "categories": {}, "category_scores": {}}]}
RANKED = {"id": "r", "results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}], "usage": {"total_tokens": 12}}
PICTURES = {"created": 1, "data": [{"b64_json": "aGk="}], "usage": {"input_tokens": 4, "output_tokens": 6, "total_tokens": 10}}
RERANK = {"model": "m", "query": "q", "documents": ["a", "b"]}


def serves(path: str, reply: Reply, *upstreams: Upstream) -> None:
    for upstream in upstreams:
        upstream.paths[f"/v1/{path}"] = reply


async def attempts() -> list[Any]:
    await registry.flush()
    columns = ("endpoint", "outcome", "prompt_tokens", "completion_tokens")
    return await in_database(lambda: list(Attempt.objects.order_by("id").values_list(*columns)))


async def test_moderation_by_openais_client(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    serves("moderations", status(200, MODERATED), upstream)
    moderated = await api.sdk().moderations.create(model="m", input=["fine", "words"])
    assert moderated.results[0].flagged is False
    assert upstream.requests[0].body == {"model": "m", "input": ["fine", "words"]}
    [(endpoint, outcome, prompt, _)] = await attempts()
    assert (endpoint, outcome) == ("moderations", "ok")
    assert prompt > 0


async def test_a_request_without_a_model_goes_to_one_that_is_made_for_it(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream, route="omni-moderation-latest")
    serves("moderations", status(200, MODERATED), upstream)
    assert (await api.sdk().moderations.create(input="fine")).id == "modr-1"
    response = await api.post("images/generations", {"prompt": "A cat."})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "model")


async def test_reranking_falls_back_and_is_counted(api: Api, make_upstream: MakeUpstream) -> None:
    first, second = make_upstream(), make_upstream()
    await api.serve(first, second)
    serves("rerank", status(500), first)
    serves("rerank", status(200, RANKED), second)
    response = await api.post("rerank", RERANK)
    assert response.json() == RANKED
    assert response.headers["x-patchbay-attempts"] == "2"
    assert await attempts() == [("rerank", "failed", 0, 0), ("rerank", "ok", 12, 0)]


async def test_a_server_without_the_endpoint_loses_nothing(api: Api, make_upstream: MakeUpstream) -> None:
    """DESIGN: a missing endpoint says nothing about the model or the server."""
    first, second = make_upstream(), make_upstream()
    await api.serve(first, second)
    serves("rerank", status(404, {"detail": "Not Found"}), first)
    serves("rerank", status(200, RANKED), second)
    for _ in range(3):
        assert (await api.post("rerank", RERANK)).headers["x-patchbay-attempts"] == "2"
    assert (await api.chat()).headers["x-patchbay-backend"] == "backend0"


@pytest.mark.parametrize(
    ("path", "body", "reply"),
    [
        ("moderations", {"model": "m", "input": "x"}, status(200, {"id": "modr-1"})),
        ("rerank", RERANK, html()),
        ("images/generations", {"model": "m", "prompt": "x"}, status(200, {"error": {"message": "Not now."}})),
    ],
)
async def test_a_bad_answer_goes_to_the_next(api: Api, make_upstream: MakeUpstream, path: str, body: Any, reply: Reply) -> None:
    bad, good = make_upstream(), make_upstream()
    await api.serve(bad, good)
    serves(path, reply, bad)
    serves(path, status(200, {**RANKED, **MODERATED, **PICTURES}), good)
    response = await api.post(path, body)
    assert (response.status_code, response.headers["x-patchbay-backend"]) == (200, "backend1")


async def test_pictures_are_made(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    serves("images/generations", status(200, PICTURES), upstream)
    pictures = await api.sdk().images.generate(model="m", prompt="A cat.", size="1024x1024")
    assert pictures.data
    assert pictures.data[0].b64_json == "aGk="
    assert await attempts() == [("images/generations", "ok", 4, 6)]


async def test_pictures_stream_as_events(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    events = stream({"type": "image_generation.partial_image", "b64_json": "aGk="}, {"type": "image_generation.completed"})
    serves("images/generations", events, upstream)
    found = [event.type async for event in await api.sdk().images.generate(model="m", prompt="A cat.", stream=True)]
    assert found == ["image_generation.partial_image", "image_generation.completed"]


async def test_pictures_are_edited_with_several_files(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    serves("images/edits", status(200, PICTURES), upstream)
    files = [("one.png", b"1", "image/png"), ("two.png", b"2", "image/png")]
    await api.sdk().images.edit(model="m", prompt="Add a hat.", image=files, mask=("mask.png", b"3", "image/png"))
    raw = upstream.requests[0].raw
    assert all(part in raw for part in (b'filename="one.png"', b'filename="two.png"', b'name="mask"', b"Add a hat."))


async def test_speech_comes_as_it_is_made(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    serves("audio/speech", stream(b"ID3", 0.01, b"more", content_type="audio/mpeg"), upstream)
    async with api.sdk().audio.speech.with_streaming_response.create(model="m", voice="alloy", input="Hello there.") as spoken:
        assert await spoken.read() == b"ID3more"
        assert spoken.headers["content-type"] == "audio/mpeg"
        assert spoken.headers["x-patchbay-backend"] == "backend0"
    [(endpoint, outcome, prompt, _)] = await attempts()
    assert (endpoint, outcome) == ("audio/speech", "ok")
    assert prompt > 0


async def test_speech_falls_back_before_its_first_byte(api: Api, make_upstream: MakeUpstream) -> None:
    bad, empty, good = make_upstream(), make_upstream(), make_upstream()
    await api.serve(bad, empty, good)
    serves("audio/speech", html(), bad)
    serves("audio/speech", stream(content_type="audio/mpeg"), empty)
    serves("audio/speech", stream(b"ID3", content_type=""), good)
    response = await api.post("audio/speech", {"model": "m", "voice": "v", "input": "Hello."})
    assert (response.content, response.headers["content-type"]) == (b"ID3", "application/octet-stream")
    assert response.headers["x-patchbay-attempts"] == "3"


async def test_speech_that_breaks_off_is_cut(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    serves("audio/speech", stream(b"ID3", 0.05, CUT, content_type="audio/mpeg"), upstream)
    body = b'{"model": "m", "voice": "v", "input": "Hello."}'
    exchange = Exchange("audio/speech", body, headers={"authorization": f"Bearer {api.token}"})
    with pytest.raises(CutAnswer):
        await exchange.run()
    assert exchange.raw == b"ID3"


async def test_a_recording_is_transcribed(api: Api, make_upstream: MakeUpstream) -> None:
    bad, good = make_upstream(), make_upstream()
    await api.serve(bad, good, route="ears", model="whisper")
    serves("audio/transcriptions", status(503), bad)
    serves("audio/transcriptions", status(200, {"text": "Hello.", "usage": {"input_tokens": 3, "output_tokens": 2}}), good)
    heard = await api.sdk().audio.transcriptions.create(
        model="ears", file=("a.wav", WAVE, "audio/wav"), language="en", timestamp_granularities=["word", "segment"], temperature=0.5
    )
    assert heard.text == "Hello."
    raw = good.requests[0].raw
    assert raw.count(b'name="model"') == 1
    assert b'name="model"\r\n\r\nwhisper\r\n' in raw
    assert raw.count(b'name="timestamp_granularities[]"') == 2
    assert b'name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF' in raw
    assert await attempts() == [("audio/transcriptions", "failed", 0, 0), ("audio/transcriptions", "ok", 3, 2)]


@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "application/json"])
async def test_a_transcript_may_be_plain_text(api: Api, upstream: Upstream, kind: str) -> None:
    await api.serve(upstream)
    text = "WEBVTT" if kind.startswith("text") else '"WEBVTT"'
    serves("audio/translations", status(200, text, content_type=kind), upstream)
    form = {"model": "m", "response_format": "vtt"}
    response = await api.http.post("audio/translations", data=form, files={"file": ("a.wav", WAVE)})
    assert (response.text, response.headers["content-type"]) == (text, kind)


async def test_a_transcript_streams(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    events = stream({"type": "transcript.text.delta", "delta": "Hel"}, {"type": "transcript.text.done", "text": "Hello"})
    serves("audio/transcriptions", events, upstream)
    found = [event.type async for event in await api.sdk().audio.transcriptions.create(model="m", file=("a.wav", WAVE), stream=True)]
    assert found == ["transcript.text.delta", "transcript.text.done"]


async def test_a_stream_of_events_that_breaks_ends_with_an_error(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    serves("images/generations", stream({"type": "image_generation.partial_image"}, 0.05, CUT), upstream)
    response = await api.post("images/generations", {"model": "m", "prompt": "A cat.", "stream": True})
    assert "stream_interrupted" in response.text


async def test_a_recording_that_the_server_refuses_is_the_callers_fault(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    serves("audio/transcriptions", error("The audio is too short.", code=400), upstream)
    response = await api.http.post("audio/transcriptions", data={"model": "m"}, files={"file": ("a.wav", WAVE)})
    assert (response.status_code, response.json()["error"]["message"]) == (400, "The audio is too short.")


@pytest.mark.parametrize(
    ("data", "files", "param"),
    [
        ({"model": "m"}, {"other": ("a", b"1")}, "file"),
        ({"model": ["m", "n"]}, {"file": ("a", b"1")}, "model"),
        ({}, {"file": ("a", b"1")}, "model"),
        ({"model": "m", "api_base": "http://evil"}, {"file": ("a", b"1")}, "api_base"),
    ],
)
async def test_a_wrong_form_is_refused(api: Api, upstream: Upstream, data: Any, files: Any, param: str) -> None:
    await api.serve(upstream)
    response = await api.http.post("audio/transcriptions", data=data, files=files)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"{}", "application/json", "invalid_content_type"),
        (b"broken", "multipart/form-data", "invalid_form"),
    ],
)
async def test_what_is_no_form_is_refused(api: Api, content: bytes, kind: str, code: str) -> None:
    response = await api.post("audio/transcriptions", content=content, headers={"content-type": kind})
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("moderations", {"model": "m"}),
        ("moderations", []),
        ("rerank", {"model": "m", "query": "q", "documents": []}),
        ("audio/speech", {"model": "m", "voice": "v"}),
        ("images/generations", {"model": "m", "prompt": 1}),
    ],
)
async def test_a_wrong_body_is_refused(api: Api, path: str, body: Any) -> None:
    assert (await api.post(path, body)).status_code == 400


# --- the built-in backend


async def builtin() -> None:
    await in_database(add_backend, name="builtin", base_url="http://builtin/v1", preset="builtin")


async def test_the_built_in_backend_ranks_by_meaning(api: Api) -> None:
    await builtin()
    documents = ["The stock market fell.", {"text": "A kitten sleeps on the sofa."}, "Rain is expected."]
    asked = {"model": "builtin/all-MiniLM-L6-v2", "query": "a cat at home", "documents": documents, "top_n": 2, "return_documents": True}
    response = await api.post("rerank", asked)
    results = response.json()["results"]
    assert [results[0]["index"], len(results)] == [1, 2]
    assert results[0]["document"] == {"text": "A kitten sleeps on the sofa."}
    assert 1 >= results[0]["relevance_score"] > results[1]["relevance_score"] >= 0
    [(endpoint, outcome, prompt, _)] = await attempts()
    assert (endpoint, outcome) == ("rerank", "ok")
    assert prompt > 10


@pytest.mark.parametrize("change", [{"documents": ["a", ""]}, {"documents": ["a"] * 3000}, {"query": ""}, {"documents": [{"x": 1}]}])
async def test_the_built_in_backend_says_what_is_wrong(api: Api, change: Any) -> None:
    await builtin()
    response = await api.post("rerank", {"model": "builtin/all-MiniLM-L6-v2", "query": "q", "documents": ["a"], **change})
    assert response.status_code == 400


async def test_the_built_in_backend_says_what_it_cannot_do(api: Api) -> None:
    await builtin()
    response = await api.post("moderations", {"model": "builtin/patchbay-builtin", "input": "x"})
    assert response.status_code == 400
    assert "do not support" in response.json()["error"]["message"]
