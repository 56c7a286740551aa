"""A hostile server behind a backend: what it says reaches people as text, and its own key not at all (FAULTS 5, 15)."""

from __future__ import annotations

import json
import logging
import uuid
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from batches.models import BatchRow
from batches.results import outputs
from chat.generation.generate import write
from chat.models import Conversation, Message, SentRequest
from tests.batches.conftest import in_thread, line, make_batch, run
from tests.chat.conftest import Socket
from tests.upstream import Upstream, chunk, error, says, stream
from tests.users import Users
from webapp.backends import services
from webapp.backends.models import Attempt, Backend
from webapp.backends.runtime import registry

KEY = "s3cr3t+of/the=backend"
ECHO = f'Bad key {KEY!r} in "Authorization: Bearer {KEY}" \0 <img src=x onerror=alert(1)>'


@pytest.fixture
def users(transactional_db: None, upstream: Upstream) -> Users:
    """The usual users, and the upstream as the backend `up` with a key, alone in the route `default`."""
    from tests.users import make_users

    backend = services.add_backend(name="up", base_url=upstream.base_url, api_key=KEY)
    services.add_model(backend=backend, name="m")
    services.set_route(name="default", steps=[(backend, "m")])
    return make_users()


async def ask(users: Users, serve: Any, seconds: float = 10) -> tuple[Message, str]:
    """One question by the owner; the answer as it was kept, and all that the socket was sent."""
    async with serve(write):
        socket = Socket(users.owner, uuid.uuid4())
        assert (await socket.connect())[0]
        await socket.say(text="Hi")
        page = await socket.until_ended(seconds)
        await socket.close()
    await registry.aclose()
    return await Message.objects.aget(role="assistant"), page.html


def everything() -> str:
    """Return the stored answers, attempts, and requests as one text."""
    kept = [*Message.objects.values(), *Attempt.objects.values(), *SentRequest.objects.values(), *Conversation.objects.values()]
    return json.dumps([*kept, *BatchRow.objects.values(), *LogEntry.objects.values()], default=str)


@pytest.mark.parametrize(
    "reply",
    [
        error(ECHO, code=401),
        error(ECHO, code=500, headers={"x-request-id": "r", "www-authenticate": "Bearer x"}),
        error(ECHO, code=400, type=ECHO[:30], param=KEY),
        stream(chunk({"content": "part "}), {"error": {"message": ECHO, "code": KEY}}),
    ],
    ids=["401", "500", "400", "in the stream"],
)
async def test_a_key_that_a_server_echoes_is_nowhere(
    users: Users, serve: Any, upstream: Upstream, reply: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """FAULTS 15: page, database, attempts, log, status page and admin; and what the server says of it is text (FAULTS 5)."""
    upstream.default = reply
    caplog.set_level(logging.DEBUG, "patchbay")
    answer, sent = await ask(users, serve)
    assert answer.status == "failed"
    assert "<img" not in sent
    pages, export = await in_thread(look_around)(users, answer.conversation_id)
    for text in (sent, await in_thread(everything)(), caplog.text, pages, export):
        assert KEY not in text
        assert "s3cr3t" not in text
    assert "<img src=x" not in pages


def look_around(users: Users, conversation_id: Any) -> tuple[str, str]:
    """The pages that speak of backends and attempts, as their readers see them; and the conversation as a file of JSON."""
    owner, administrator = Client(), Client()
    owner.force_login(users.owner)
    administrator.force_login(users.administrator)
    chats = [f"/chat/{conversation_id}/", "/usage/", "/backends/"]
    backend = Backend.objects.get()
    admin = [
        "/admin/backends/attempt/",
        "/admin/backends/backend/",
        f"/admin/backends/backend/{backend.pk}/change/",
        "/backends/",
        "/usage/",
    ]
    attempts = [f"/admin/backends/attempt/{pk}/change/" for pk in Attempt.objects.values_list("pk", flat=True)]
    read = [owner.get(path).content.decode() for path in chats]
    export = owner.get(f"/chat/{conversation_id}/export.json").content.decode()
    return "\n".join([*read, *(administrator.get(path).content.decode() for path in admin + attempts)]), export


async def test_what_no_database_can_hold_is_taken_out_of_an_answer(users: Users, serve: Any, upstream: Upstream) -> None:
    """PostgreSQL refuses NUL: one such token would hold up the log of every conversation."""
    upstream.script(
        says("", tool_calls=[("calc\0ulator", '{"expression": "1\0+1"}'), ("calculator", '{"expression": "1+1", "x": "\\u0000"}')]),
        says("a \0 b", reasoning="think\0ing"),
    )
    answer, _ = await ask(users, serve)
    assert (answer.status, answer.text) == ("done", "a  b")
    assert "\\u0000" not in (await in_thread(everything)()).replace("\\\\u0000", "")


@pytest.mark.parametrize(
    "response",
    [
        "[]",
        "[1]",
        '"text"',
        "1",
        '{"choices": {}}',
        '{"choices": ["x"]}',
        '{"choices": [{"message": [1]}]}',
        '{"data": 5}',
        '{"data": [1]}',
    ],
)
async def test_answers_of_any_shape_can_be_looked_at_and_downloaded(users: Users, upstream: Upstream, response: str) -> None:
    """The results of a remote batch are untrusted, because its server wrote them."""
    batch = await run(await in_thread(make_batch)(users.owner, [line("=cmd|' /C calc'!A0", "@SUM(1)")]))
    await BatchRow.objects.aupdate(response=response, state=BatchRow.State.OK, error_message="+1")
    row = await batch.rows.aget()
    assert isinstance(outputs.answer_of(row), str)
    table = await in_thread(lambda: b"".join(outputs.joined_csv(batch)).decode())()
    assert "'=cmd|" in table
    assert "'@SUM" in table
    client = Client()
    await client.aforce_login(users.owner)
    assert (await in_thread(client.get)(f"/batches/{batch.pk}/rows/1/")).status_code == 200
    await registry.aclose()
