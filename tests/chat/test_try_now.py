"""An answer that failed at a paused backend offers its administrator to try at once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from chat.generation import generate
from tests.chat.conftest import Page, Socket
from tests.upstream import Upstream, says, status
from tests.users import Users
from webapp.accounts.models import User
from webapp.backends import services
from webapp.backends.runtime import registry
from webapp.core.database import in_database

pytestmark = pytest.mark.django_db(transaction=True)


def prepare(upstream: Upstream) -> None:
    services.add_model(backend=services.add_backend(name="up", base_url=upstream.base_url), name="m")
    upstream.default = says("Hello")


async def paused(serve: Any, user: User, fresh: UUID, upstream: Upstream, **fields: Any) -> tuple[str, Page]:
    """Meet a rate limit, ask again while it pauses the model, and try once more; return the failed card and the last page."""
    await in_database(prepare, upstream)
    upstream.script(status(429, headers={"retry-after": "600"}))
    async with serve(generate.write):
        socket = Socket(user, fresh)
        await socket.connect()
        await socket.say(text="One", model="up/m")
        await socket.until_ended()
        socket.page = Page()
        await socket.say(text="Two", model="up/m")
        card = (await socket.until_ended()).frames[-1]["content"]
        socket.page = Page()
        await socket.say("regenerate", **fields)
        page = await socket.until_ended()
        await socket.close()
    await registry.aclose()
    return card, page


async def test_an_administrator_tries_a_paused_backend_at_once(users: Users, serve: Any, fresh: UUID, upstream: Upstream) -> None:
    card, page = await paused(serve, users.administrator, fresh, upstream, now="1")
    assert 'data-testid="try-now"' in card
    assert page.last_status == "done"
    assert "Hello" in page.html


async def test_nobody_else_ends_a_pause(users: Users, serve: Any, fresh: UUID, upstream: Upstream) -> None:
    card, page = await paused(serve, users.owner, fresh, upstream, now="1")
    assert 'data-testid="try-now"' not in card
    assert page.last_status == "failed"
