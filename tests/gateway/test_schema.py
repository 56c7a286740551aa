"""Every object that leaves /v1 is one of OpenAI's published schema: from the built-in backend, a good server and a sloppy one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from asgiref.sync import sync_to_async

from tests.gateway.api import MESSAGES, Api, sse
from tests.openai_objects import fits
from tests.upstream import Received, Upstream, Wire, says
from webapp.backends.services import seeding

TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
async def served(api: Api, upstream: Upstream, settings: Any, tmp_path: Path) -> Api:
    """The built-in backend as `default` and `embed`, and a scriptable server as `m`."""
    settings.MEDIA_ROOT = tmp_path
    await sync_to_async(seeding.seed)()
    await api.serve(upstream)
    return api


async def sloppy(received: Received, wire: Wire) -> None:
    """As little as servers get away with: no id, no object, no index, no finish reason where there is none."""
    legacy = received.path.endswith("/v1/completions")
    if not received.streams:
        choice = {"text": "Hi"} if legacy else {"message": {"content": "Hi"}, "finish_reason": "stop"}
        await wire.start()
        await wire.end(json.dumps({"choices": [choice]}).encode())
        return
    await wire.start(200, "text/event-stream")
    said: list[Any] = [{"text": "Hi"} if legacy else {"delta": {"content": "Hi"}}, {"finish_reason": "stop"}]
    for choice in said:
        await wire.send(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
    await wire.end()


async def chunks(api: Api, **fields: Any) -> list[Any]:
    response = await api.chat(stream=True, **fields)
    assert response.status_code == 200, response.text
    found = [event async for event in sse(response)]
    assert found.pop() == "[DONE]"
    return found


CHATS: list[dict[str, Any]] = [
    {"model": "default"},
    {"model": "default", "n": 2, "seed": 7},
    {"model": "default", "tools": [TOOL], "tool_choice": "required"},
    {"model": "default", "response_format": {"type": "json_object"}},
    {"model": "m"},
]


@pytest.mark.parametrize("fields", CHATS)
async def test_a_chat_completion_whole_and_in_chunks(served: Api, fields: dict[str, Any]) -> None:
    whole = await served.chat(**fields)
    assert whole.status_code == 200, whole.text
    fits("CreateChatCompletionResponse", whole.json())
    for one in await chunks(served, stream_options={"include_usage": True}, **fields):
        fits("CreateChatCompletionStreamResponse", one)


async def test_tool_calls_of_a_server(served: Api, upstream: Upstream) -> None:
    upstream.default = says(tool_calls=[("now", "{}"), ("now", '{"a": 1}')])
    fits("CreateChatCompletionResponse", (await served.chat(tools=[TOOL])).json())
    for one in await chunks(served, tools=[TOOL]):
        fits("CreateChatCompletionStreamResponse", one)


async def test_what_a_sloppy_server_leaves_out_is_there(served: Api, upstream: Upstream) -> None:
    upstream.default = sloppy
    fits("CreateChatCompletionResponse", (await served.chat()).json())
    found = await chunks(served)
    assert len(found) == 2
    for one in found:
        fits("CreateChatCompletionStreamResponse", one)


@pytest.mark.parametrize("model", ["default", "m", "sloppy"])
async def test_a_completion_whole_and_in_chunks(served: Api, upstream: Upstream, model: str) -> None:
    if model == "sloppy":
        model, upstream.default = "m", sloppy
    body = {"model": model, "prompt": "Say hi"}
    whole = await served.post("completions", body)
    assert whole.status_code == 200, whole.text
    fits("CreateCompletionResponse", whole.json())
    streamed = [one async for one in sse(await served.post("completions", {**body, "stream": True}))]
    assert streamed.pop() == "[DONE]"
    assert streamed
    for one in streamed:
        for choice in one["choices"]:  # the document has no word for an answer that is not finished; OpenAI sends null
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        fits("CreateCompletionResponse", one)


@pytest.mark.parametrize("model", ["embed", "m"])
async def test_embeddings(served: Api, model: str) -> None:
    response = await served.post("embeddings", {"model": model, "input": ["one", "two"]})
    assert response.status_code == 200, response.text
    fits("CreateEmbeddingResponse", response.json())


async def test_models(served: Api) -> None:
    listed = (await served.http.get("models")).json()
    assert {"default", "m", "backend0/m"} <= {model["id"] for model in listed["data"]}
    fits("ListModelsResponse", listed)
    fits("Model", (await served.http.get("models/backend0/m")).json())


async def test_files_and_batches(served: Api) -> None:
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": MESSAGES}}
    made = await served.post("files", files={"file": ("in.jsonl", json.dumps(line).encode())}, data={"purpose": "batch"})
    file = made.json()
    fits("OpenAIFile", file)
    fits("OpenAIFile", (await served.http.get(f"files/{file['id']}")).json())
    fits("ListFilesResponse", (await served.http.get("files")).json())
    asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = (await served.post("batches", asked)).json()
    fits("Batch", batch)
    fits("Batch", (await served.http.get(f"batches/{batch['id']}")).json())
    fits("ListBatchesResponse", (await served.http.get("batches")).json())
    fits("Batch", (await served.post(f"batches/{batch['id']}/cancel", {})).json())
    other = (await served.post("files", files={"file": ("b.txt", b"b")}, data={"purpose": "user_data"})).json()
    fits("DeleteFileResponse", (await served.http.delete(f"files/{other['id']}")).json())


async def test_errors(served: Api, upstream: Upstream) -> None:
    asks = [
        served.http.get("models", headers={"authorization": "Bearer no"}),
        served.http.get("nothing"),
        served.http.delete("models"),
        served.http.get("models/nothing"),
        served.http.get("files/file-nothing"),
        served.post("batches", {}),
        served.chat(temperature="hot"),
        served.chat(model="nothing"),
        served.post("chat/completions", content=b"{"),
    ]
    answers: list[httpx2.Response] = await asyncio.gather(*asks)
    assert [answer.status_code for answer in answers] == [401, 404, 405, 404, 404, 400, 400, 404, 400]
    for answer in answers:
        fits("ErrorResponse", answer.json())
