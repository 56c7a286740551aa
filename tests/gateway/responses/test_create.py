"""POST responses: whole and streamed, stored or not, with the conversation before it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from asgiref.sync import sync_to_async

from tests.gateway.api import Api, Exchange, sse
from tests.upstream import CUT, Upstream, chunk, error, says, status, stream
from webapp.backends.models import Attempt
from webapp.backends.runtime import registry
from webapp.gateway.models import StoredResponse

ASK = {"model": "m", "input": "hi"}
MakeUpstream = Callable[..., Upstream]


async def events_of(response: Any) -> list[dict[str, Any]]:
    return [event async for event in sse(response)]


async def stored(response_id: str) -> StoredResponse | None:
    return await StoredResponse.objects.filter(pk=response_id).afirst()


async def test_a_whole_response_through_the_sdk(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("Hello there")
    response = await api.sdk().responses.create(model="m", input="hi", instructions="be brief", metadata={"a": "b"})
    assert response.output_text == "Hello there"
    assert response.status == "completed"
    assert response.metadata == {"a": "b"}
    assert response.usage
    assert response.usage.total_tokens == 10
    assert upstream.requests[0].body["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]


async def test_a_streamed_response_through_the_sdk(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("Hello there you")
    seen = [event async for event in await api.sdk().responses.create(model="m", input="hi", stream=True)]
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert "".join(event.delta for event in seen if event.type == "response.output_text.delta") == "Hello there you"
    assert seen[-1].type == "response.completed"
    assert seen[-1].response.output_text == "Hello there you"


async def test_the_sdk_parses_a_schema(api: Api, make_upstream: MakeUpstream) -> None:
    import pydantic

    class Answer(pydantic.BaseModel):
        number: int

    await api.serve(upstream := make_upstream())
    upstream.default = says('{"number": 7}')
    response = await api.sdk().responses.parse(model="m", input="hi", text_format=Answer)
    assert response.output_parsed == Answer(number=7)
    assert upstream.requests[0].body["response_format"]["json_schema"]["name"] == "Answer"


async def test_the_previous_response_is_the_history(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("One")
    first = (await api.post("responses", ASK)).json()
    second = (await api.post("responses", {**ASK, "input": "more", "previous_response_id": first["id"], "instructions": "x"})).json()
    await api.post("responses", {**ASK, "input": "again", "previous_response_id": second["id"]})
    contents = [message["content"] for message in upstream.requests[-1].body["messages"]]
    assert contents == ["hi", "One", "more", "One", "again"], "instructions of a response before do not count"
    items = (await api.http.get(f"responses/{second['id']}/input_items", params={"order": "asc"})).json()
    assert [item["content"][0]["text"] for item in items["data"]] == ["hi", "One", "more"]


async def test_a_function_is_called_and_its_output_goes_back(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.script(says(tool_calls=[("weather", '{"city":"Oslo"}')]))
    upstream.default = says("Rain.")
    tool: Any = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}
    client = api.sdk()
    first = await client.responses.create(model="m", input="weather?", tools=[tool])
    [call] = first.output
    assert call.type == "function_call"
    output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    second = await client.responses.create(model="m", previous_response_id=first.id, input=output, tools=[tool])
    assert second.output_text == "Rain."
    messages = upstream.requests[-1].body["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[2]["content"] == "rain"


async def test_the_next_backend_answers_where_the_first_is_dead(api: Api, make_upstream: MakeUpstream) -> None:
    dead, good = make_upstream(), make_upstream()
    await api.serve(dead, good)
    dead.default, good.default = status(500), says("Here")
    response = await api.post("responses", {**ASK, "stream": True})
    assert response.headers["x-patchbay-backend"] == "backend1"
    assert (await events_of(response))[-1]["type"] == "response.completed"


@pytest.mark.parametrize("streams", [True, False])
async def test_no_answer_is_an_error_with_its_status_and_nothing_is_stored(api: Api, make_upstream: MakeUpstream, *, streams: bool) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = error("too hot", code=400, param="temperature")
    response = await api.post("responses", {**ASK, "stream": streams})
    assert response.status_code == 400
    assert response.json()["error"]["message"]
    assert not await StoredResponse.objects.aexists()


async def test_a_stream_that_breaks_ends_as_failed(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = stream(chunk({"content": "Hel"}), chunk({"content": "lo"}), 0.05, CUT)
    events = await events_of(await api.post("responses", {**ASK, "stream": True}))
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "server_error"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "Hello"
    row = await stored(events[0]["response"]["id"])
    assert row is not None
    assert row.status == "failed"


async def test_store_false_keeps_nothing(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("Hello")
    for streams in (True, False):
        response = await api.post("responses", {**ASK, "store": False, "stream": streams})
        assert response.status_code == 200
    assert not await StoredResponse.objects.aexists()


async def test_a_streamed_response_can_be_read_and_streamed_again(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("Hello there")
    response = await api.post("responses", {**ASK, "stream": True})
    events = await events_of(response)
    name = events[0]["response"]["id"]
    read = (await api.http.get(f"responses/{name}")).json()
    assert read == events[-1]["response"]
    again = await events_of(await api.http.get(f"responses/{name}?stream=true"))
    assert again == events
    rest = await events_of(await api.http.get(f"responses/{name}?stream=true&starting_after=4"))
    assert rest == events[5:]


async def test_a_whole_response_can_be_streamed_afterwards(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("Hello there", tool_calls=[("f", "{}")])
    name = (await api.post("responses", {**ASK, "tools": [{"type": "function", "name": "f"}]})).json()["id"]
    events = await events_of(await api.http.get(f"responses/{name}?stream=true"))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"]["status"] == "completed"
    assert (await events_of(await api.http.get(f"responses/{name}?stream=true&starting_after=2"))) == events[3:]


async def test_a_client_that_goes_away_leaves_an_incomplete_response(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("one two three four five six", pace=0.2)
    body = json.dumps({**ASK, "stream": True}).encode()
    exchange = Exchange("responses", body, headers={"authorization": f"Bearer {api.token}"})
    running = asyncio.ensure_future(exchange.run())
    await exchange.first_piece.wait()
    await asyncio.sleep(0.1)
    exchange.gone.set()
    await running
    row = await StoredResponse.objects.aget()
    assert row.status == "incomplete"
    assert row.response["output"][0]["content"][0]["text"].startswith("one")
    assert await sync_to_async(upstream.requests[0].gone.wait)(2)


async def test_attempts_are_recorded(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("Hello")
    await api.post("responses", ASK)
    await registry.flush()
    attempt = await Attempt.objects.aget()
    assert (attempt.endpoint, attempt.source, attempt.completion_tokens) == ("responses", "gateway", 3)


async def test_a_model_that_is_not_there_is_404(api: Api) -> None:
    with pytest.raises(openai.NotFoundError):
        await api.sdk().responses.create(model="nothing", input="hi")


async def test_without_a_model_the_default_route_answers(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream(), route="default")
    upstream.default = says("Hello")
    assert (await api.post("responses", {"input": "hi"})).status_code == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": 7}, "input"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"temperature": 3}, "temperature"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"previous_response_id": "a", "conversation": "b"}, "previous_response_id"),
        ({"background": True, "store": False}, "background"),
        ({"prompt": {"id": "p", "version": "2"}}, "prompt.version"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.name"),
        ({"api_base": "x"}, "api_base"),
    ],
)
async def test_wrong_requests_are_refused_by_name(api: Api, fields: dict[str, Any], param: str) -> None:
    response = await api.post("responses", {**ASK, **fields})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("raw", [b"[]", b"null", b"{", b'{"input": NaN}', b"[" * 10_000])
async def test_malformed_bodies_are_refused(api: Api, raw: bytes) -> None:
    response = await api.http.post("responses", content=raw)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


async def test_hosted_tools_are_passed_over(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("Hello")
    response = await api.post("responses", {**ASK, "tools": [{"type": "web_search"}, {"type": "function", "name": "f"}]})
    assert response.status_code == 200
    assert [tool["function"]["name"] for tool in upstream.requests[0].body["tools"]] == ["f"]


async def test_an_item_of_before_may_be_referred_to(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("One")
    item = (await api.post("responses", ASK)).json()["output"][0]
    references = [{"type": "item_reference", "id": item["id"]}, {"role": "user", "content": "more"}]
    assert (await api.post("responses", {**ASK, "input": references})).status_code == 200
    assert [message["content"] for message in upstream.requests[-1].body["messages"]] == ["One", "more"]
    missing = await api.post("responses", {**ASK, "input": [{"type": "item_reference", "id": "msg_none"}]})
    assert missing.status_code == 404


async def test_the_tools_of_the_product_run_here(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.script(says(tool_calls=[("patchbay__calculator", '{"expression": "6*7"}')]))
    upstream.default = says("It is 42.")
    tool = {"type": "mcp", "server_label": "patchbay", "require_approval": "never"}
    response = (await api.post("responses", {**ASK, "tools": [tool]})).json()
    assert [item["type"] for item in response["output"]] == ["mcp_list_tools", "mcp_call", "message"]
    assert "42" in response["output"][1]["output"]
    assert upstream.requests[-1].body["messages"][-1]["role"] == "tool"


async def test_input_tokens_are_counted(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(make_upstream())
    counted = await api.sdk().responses.input_tokens.count(model="m", input="one two three")
    assert counted.input_tokens > 3


async def test_a_conversation_is_compacted(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("A summary")
    first = (await api.post("responses", ASK)).json()
    compacted = await api.sdk().responses.compact(model="m", previous_response_id=first["id"])
    assert [item.type for item in compacted.output] == ["compaction"]
    again = await api.post("responses", {**ASK, "input": [item.to_dict() for item in compacted.output]})
    assert again.status_code == 200
