"""Stored responses and conversations: read, listed, deleted, kept for a time, and never seen by others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from tests.gateway.api import Api
from tests.gateway.responses.test_create import ASK, events_of
from tests.upstream import Upstream, says
from webapp.gateway.models import ConversationItem, StoredResponse
from webapp.gateway.responses import records

MakeUpstream = Callable[..., Upstream]


@pytest.fixture
async def served(api: Api, make_upstream: MakeUpstream) -> Upstream:
    upstream = make_upstream()
    await api.serve(upstream)
    upstream.default = says("Hello")
    return upstream


async def test_a_deleted_response_is_gone(api: Api, served: Upstream) -> None:
    name = (await api.post("responses", ASK)).json()["id"]
    assert (await api.http.delete(f"responses/{name}")).json() == {"id": name, "object": "response", "deleted": True}
    for path in (f"responses/{name}", f"responses/{name}/input_items", f"responses/{name}?stream=true"):
        assert (await api.http.get(path)).status_code == 404
    missing = await api.post("responses", {**ASK, "previous_response_id": name})
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "previous_response_not_found"


async def test_a_hole_in_the_history_is_said(api: Api, served: Upstream) -> None:
    first = (await api.post("responses", ASK)).json()["id"]
    second = (await api.post("responses", {**ASK, "previous_response_id": first})).json()["id"]
    await api.http.delete(f"responses/{first}")
    answer = await api.post("responses", {**ASK, "previous_response_id": second})
    assert answer.status_code == 404
    assert first in answer.json()["error"]["message"]


async def test_nobody_sees_what_is_not_theirs(api: Api, served: Upstream) -> None:
    name = (await api.post("responses", ASK)).json()["id"]
    conversation = (await api.post("conversations", {"items": [{"role": "user", "content": "x"}]})).json()["id"]
    item = (await api.http.get(f"conversations/{conversation}/items")).json()["data"][0]["id"]
    await api.use_token(api.users.other)
    for method, path in [
        ("GET", f"responses/{name}"), ("GET", f"responses/{name}?stream=true"), ("GET", f"responses/{name}/input_items"),
        ("POST", f"responses/{name}/cancel"), ("DELETE", f"responses/{name}"), ("GET", f"conversations/{conversation}"),
        ("GET", f"conversations/{conversation}/items"), ("GET", f"conversations/{conversation}/items/{item}"),
        ("DELETE", f"conversations/{conversation}/items/{item}"), ("DELETE", f"conversations/{conversation}"),
    ]:  # fmt: skip
        assert (await api.http.request(method, path)).status_code == 404, f"{method} {path}"
    for fields in ({"previous_response_id": name}, {"conversation": conversation}):
        assert (await api.post("responses", {**ASK, **fields})).status_code == 404
    assert await StoredResponse.objects.acount() == 1


@pytest.mark.parametrize("streams", [True, False])
async def test_a_conversation_grows_by_what_was_said(api: Api, served: Upstream, *, streams: bool) -> None:
    conversation = (await api.post("conversations", {"metadata": {"a": "b"}})).json()
    assert conversation["object"] == "conversation"
    for text in ("one", "two"):
        response = await api.post("responses", {**ASK, "input": text, "conversation": conversation["id"], "stream": streams})
        assert response.status_code == 200
    items = (await api.http.get(f"conversations/{conversation['id']}/items?order=asc")).json()["data"]
    assert [item["content"][0]["text"] for item in items] == ["one", "Hello", "two", "Hello"]
    assert [message["content"] for message in served.requests[-1].body["messages"]] == ["one", "Hello", "two"]


async def test_conversations_through_the_sdk(api: Api) -> None:
    client = api.sdk()
    items: Any = [{"type": "message", "role": "user", "content": "hi"}]
    made = await client.conversations.create(items=items, metadata={"a": "b"})
    assert (await client.conversations.retrieve(made.id)).metadata == {"a": "b"}
    assert (await client.conversations.update(made.id, metadata={"c": "d"})).metadata == {"c": "d"}
    added = await client.conversations.items.create(made.id, items=items)
    name = added.data[0].id
    assert name
    assert name != (await client.conversations.items.list(made.id, order="asc")).data[0].id
    assert (await client.conversations.items.retrieve(name, conversation_id=made.id)).id == name
    await client.conversations.items.delete(name, conversation_id=made.id)
    assert await ConversationItem.objects.acount() == 1
    assert (await client.conversations.delete(made.id)).deleted


async def test_items_are_listed_a_page_at_a_time(api: Api) -> None:
    items = [{"role": "user", "content": str(number)} for number in range(7)]
    name = (await api.post("conversations", {"items": items})).json()["id"]
    first = (await api.http.get(f"conversations/{name}/items?limit=3&order=asc")).json()
    assert [item["content"][0]["text"] for item in first["data"]] == ["0", "1", "2"]
    assert first["has_more"]
    last = (await api.http.get(f"conversations/{name}/items?limit=9&order=asc&after={first['last_id']}")).json()
    assert [item["content"][0]["text"] for item in last["data"]] == ["3", "4", "5", "6"]
    assert not last["has_more"]
    assert (await api.http.get(f"conversations/{name}/items?after=nothing")).status_code == 400


async def test_old_responses_go_and_others_stay(api: Api, served: Upstream, settings: Any) -> None:
    for _ in range(2):
        await events_of(await api.post("responses", {**ASK, "stream": True}))
    old = await StoredResponse.objects.afirst()
    assert old is not None
    await StoredResponse.objects.filter(pk=old.pk).aupdate(created_at=timezone.now() - timedelta(days=31))
    settings.RESPONSE_RETENTION_DAYS = 0
    assert await sync_to_async(records.delete_expired)() == 0
    settings.RESPONSE_RETENTION_DAYS = 30
    assert await sync_to_async(records.delete_expired)() == 1
    assert await StoredResponse.objects.acount() == 1


@pytest.mark.parametrize("query", ["starting_after=x", "starting_after=" + "9" * 30])
async def test_a_wrong_start_is_refused(api: Api, served: Upstream, query: str) -> None:
    name = (await api.post("responses", ASK)).json()["id"]
    assert (await api.http.get(f"responses/{name}?stream=true&{query}")).status_code == 400
