"""The product's tools: what they tell, and for whom."""

from __future__ import annotations

import json

import pytest
from channels.db import database_sync_to_async

from tests.backends.conftest import add, route
from tests.users import Users, make_users
from webapp.backends.models import Attempt
from webapp.backends.runtime import registry
from webapp.backends.runtime.tools import resolve
from webapp.patterns.agent import loop
from webapp.patterns.agent.tools import ToolContext
from webapp.patterns.errors import ModelForbidden
from webapp.patterns.types import Request
from webapp.ports.toolbox import toolbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def users(closing: None) -> Users:
    await add("builtin", "http://builtin/v1", "patchbay-builtin", preset="builtin")
    await route("default", "builtin/patchbay-builtin")
    users: Users = await database_sync_to_async(make_users)()
    return users


async def test_backends_are_listed_as_the_user_may_use_them(users: Users) -> None:
    await database_sync_to_async(_restrict)(users)
    mine = await toolbox.call("list_backends", "", ToolContext(user_id=users.owner.pk))
    assert "default" in [row["model"] for row in json.loads(mine.text)]
    others = await toolbox.call("list_backends", "", ToolContext(user_id=users.other.pk))
    assert "default" not in [row["model"] for row in json.loads(others.text)]
    with pytest.raises(ModelForbidden):
        await resolve("default", ToolContext(user_id=users.other.pk))


def _restrict(users: Users) -> None:
    from webapp.backends.models import Route

    Route.objects.get(name="default").allowed_users.add(users.owner)


@pytest.mark.parametrize("user_id", [None, 999_999])
async def test_nobody_in_particular_may_use_nothing(users: Users, user_id: int | None) -> None:
    for name, arguments in (("list_backends", ""), ("run_benchmark", '{"model": "default"}')):
        result = await toolbox.call(name, arguments, ToolContext(user_id=user_id))
        assert (result.text, result.fault) == ("This tool works only for a user who is signed in.", "failed")


async def test_a_benchmark_is_run_and_counts_as_the_users(users: Users) -> None:
    arguments = '{"model": "default", "requests": 1, "max_tokens": 2}'
    result = await toolbox.call("run_benchmark", arguments, ToolContext(user_id=users.owner.pk))
    assert json.loads(result.text)["answered"] == 1
    await registry.flush()
    kept = await Attempt.objects.filter(user_id=users.owner.pk, source="test", route="default").acount()
    assert kept == 2  # one warms up


async def test_a_whole_answer_counts_too(users: Users) -> None:
    backend = await resolve("default", ToolContext(user_id=users.owner.pk))
    answer = await backend.send(Request.chat([{"role": "user", "content": "2+2"}]))
    assert answer.text == "2+2 = **4**"
    assert [model.id for model in await backend.models()] == ["default"]
    await backend.aclose()
    await registry.flush()
    assert await Attempt.objects.filter(user_id=users.owner.pk).acount() == 1


async def test_the_built_in_model_answers_with_the_calculator(users: Users) -> None:
    """The whole way: route, chain, in-process HTTP, tool call, tool, answer."""
    chain = await registry.resolve("default", user=users.owner)
    request = Request.chat([{"role": "user", "content": "What is 17*23?"}])
    result = await loop.complete(chain, request, toolbox, context=ToolContext(user_id=users.owner.pk))
    assert (result.reason, result.turns, result.text) == ("answered", 2, "17\\*23 = **391**")
    assert result.messages[1] == {"role": "tool", "tool_call_id": result.messages[0]["tool_calls"][0]["id"], "content": "391"}
    assert result.usage.total_tokens > 0
    assert result.usage == result.trail.usage
