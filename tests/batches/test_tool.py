"""The tool get_batch_status."""

from __future__ import annotations

import json

from tests.batches.conftest import in_thread, line, make_batch
from tests.upstream import Upstream
from webapp.accounts.models import User
from webapp.patterns.agent.tools import ToolContext
from webapp.ports.toolbox import toolbox


async def call(user: User | None, **arguments: str) -> str:
    result = await toolbox.call("get_batch_status", json.dumps(arguments), ToolContext(user_id=user.pk if user else None))
    return result.text


async def test_it_tells_of_the_users_own_batches_only(owner: User, upstream: Upstream) -> None:
    other = await User.objects.aget(username="other")
    batch = await in_thread(make_batch)(owner, [line("a")], name="Nightly")
    assert json.loads(await call(owner))[0]["id"] == batch.api_id
    assert json.loads(await call(owner, batch="night"))[0]["status"] == "validating"
    assert json.loads(await call(owner, batch=batch.api_id))[0]["name"] == "Nightly"
    assert "no batch" in await call(other, batch="night")
    assert json.loads(await call(other)) == []


async def test_without_a_user_there_is_nothing_to_tell(owner: User) -> None:
    assert "No user is signed in" in await call(None)
