"""The chat over a backend that speaks OpenAI's Responses and nothing else."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from chat.generation import generate
from chat.models import Message
from tests.chat.conftest import Socket
from tests.responses_replies import responds
from tests.upstream import Upstream
from tests.users import Users
from webapp.backends import services
from webapp.backends.models import Backend
from webapp.backends.runtime import registry
from webapp.core.database import in_database

pytestmark = pytest.mark.django_db(transaction=True)


def prepare(upstream: Upstream) -> None:
    backend = services.add_backend(name="only", base_url=upstream.base_url)
    services.add_model(backend=backend, name="m")
    Backend.objects.filter(pk=backend.pk).update(capabilities={"responses": True, "chat_completions": False})


async def test_an_answer_with_a_tool_call_and_reasoning(users: Users, serve: Any, fresh: UUID, upstream: Upstream) -> None:
    await in_database(prepare, upstream)
    call = responds(tools=[("calculator", '{"expression": "6*7"}')], reasoning="Let me compute.")
    upstream.script(call, responds("It is 42."), path="/v1/responses")
    upstream.paths["/v1/responses"] = responds("A title")
    async with serve(generate.write):
        socket = Socket(users.owner, fresh)
        await socket.connect()
        await socket.say(text="6*7?", model="only/m")
        assert (await socket.until_ended()).last_status == "done"
        await socket.close()
    answer = await Message.objects.aget(role="assistant")
    assert answer.text == "It is 42."
    assert [part["kind"] for part in answer.parts] == ["reasoning", "tool", "text"]
    assert {request.path for request in upstream.requests} == {"/v1/responses"}
    second = upstream.requests[1].body["input"]
    assert [item["type"] for item in second[-2:]] == ["function_call", "function_call_output"]
    assert "42" in second[-1]["output"]
    await registry.aclose()
