"""The tools of tool servers in a conversation: the whole way from the socket to the server and back (FAULTS 64)."""

from __future__ import annotations

import asyncio
import re

import pytest
from asgiref.sync import sync_to_async

from chat import services as chat_services
from chat.html.tool_cards import tool_card
from chat.models import Message, Upload
from tests.chat.conftest import Page, Socket
from tests.tool_server import CHART, McpServer
from tests.toolservers.conftest import Chat
from tests.upstream import error, says
from webapp.backends.models import Attempt
from webapp.backends.runtime import registry
from webapp.toolservers.models import ServerCall, ServerTool, ToolServer

SECONDS = 30.0
"""The patience of these tests: the first one imports the SDK, and a busy machine takes its time."""


async def asked(socket: Socket, chat: Chat, tool: str, arguments: str = "{}") -> None:
    """Ask a question to which the model calls a tool, and then answers."""
    chat.upstream.script(says(tool_calls=[(f"trial__{tool}", arguments)]), says("Done."))
    await socket.say(text="Go", model="m")


async def listed(name: str) -> None:
    """Wait until a tool is known."""
    async with asyncio.timeout(SECONDS):
        while not await ServerTool.objects.filter(name=name).aexists():  # noqa: ASYNC110 - a database sends no events
            await asyncio.sleep(0.01)


async def decided(socket: Socket, *, yes: bool) -> None:
    page = await socket.until(lambda page: "tool-question" in page.html, SECONDS)
    call = re.findall(r'name="call" value="([^"]+)"', page.html)[-1]
    await socket.say("approve", call=call, yes="1" if yes else "")


async def test_a_read_only_tool_runs_and_its_call_is_recorded(chat: Chat, server: ToolServer) -> None:
    async with chat.open() as socket:
        await asked(socket, chat, "add", '{"a": 2, "b": 3}')
        page = await socket.until_ended(SECONDS)
    assert page.last_status == "done"
    assert chat.tool_results() == ["5"]
    call = await ServerCall.objects.aget()
    assert (call.tool, call.user_id, call.source, call.error) == ("add", chat.users.owner.pk, "chat", "")
    await registry.flush()
    assert {attempt.request_id async for attempt in Attempt.objects.all()} == {call.request_id}
    assert "1 tool call, " in page.html


@pytest.mark.parametrize(("yes", "told", "calls"), [(True, "1 notes", 1), (False, "declined", 0)])
async def test_other_tools_ask_first(chat: Chat, server: ToolServer, *, yes: bool, told: str, calls: int) -> None:
    async with chat.open() as socket:
        await asked(socket, chat, "note", '{"text": "x"}')
        await decided(socket, yes=yes)
        await socket.until_ended(SECONDS)
    assert told in chat.tool_results()[0]
    assert await ServerCall.objects.acount() == calls


async def test_an_administrator_allows_and_forbids(chat: Chat, server: ToolServer) -> None:
    await ServerTool.objects.filter(name="note").aupdate(approval="always")
    await ServerTool.objects.filter(name="add").aupdate(approval="never")
    async with chat.open() as socket:
        await asked(socket, chat, "note", '{"text": "x"}')
        await socket.until_ended(SECONDS)
    assert chat.tool_results() == ["1 notes"]
    assert "trial__add" not in chat.offered()
    assert "trial__note" in chat.offered()


async def test_after_content_from_outside_an_allowed_action_asks(chat: Chat, server: ToolServer) -> None:
    await ServerTool.objects.filter(name="note").aupdate(approval="always")
    async with chat.open() as socket:
        chat.upstream.script(
            says(tool_calls=[("trial__inject", "{}")]), says(tool_calls=[("trial__note", '{"text": "all I know"}')]), says("Done.")
        )
        await socket.say(text="Go", model="m")
        page = await socket.until(lambda page: "tool-question" in page.html, SECONDS)
        assert "read content from outside" in page.html
        await decided(socket, yes=False)
        await socket.until_ended(SECONDS)
    assert "declined" in chat.tool_results()[-1]


async def test_a_secret_in_the_arguments_asks(chat: Chat, server: ToolServer) -> None:
    await ServerTool.objects.filter(name="note").aupdate(approval="always")
    async with chat.open() as socket:
        await asked(socket, chat, "note", '{"text": "sk-abcdefghijklmnop"}')
        page = await socket.until(lambda page: "tool-question" in page.html, SECONDS)
        assert "key or a password" in page.html
        await decided(socket, yes=False)
        await socket.until_ended(SECONDS)


@pytest.mark.parametrize(
    ("tool", "told"),
    [
        ("fail", "It does not work today."),
        ("flood", "more than 16 MB"),
        ("hang", "did not finish hang within 1 s"),
        ("long", "cut here"),
        ("picture", "[image: image/png, 5 bytes]"),
    ],
)
async def test_what_a_bad_tool_does_is_bounded_and_the_answer_goes_on(chat: Chat, server: ToolServer, tool: str, told: str) -> None:
    await ToolServer.objects.aupdate(call_seconds=1 if tool == "hang" else 20)
    async with chat.open() as socket:
        await asked(socket, chat, tool)
        page = await socket.until_ended(SECONDS)
    assert page.last_status == "done"
    assert told in chat.tool_results()[-1]
    assert len(chat.tool_results()[-1]) < 51_000
    call = await ServerCall.objects.aget()
    assert bool(call.error) == (tool in {"fail", "flood", "hang"})


async def test_an_image_shows_below_the_card_and_goes_to_the_model(chat: Chat, server: ToolServer) -> None:
    async with chat.open() as socket:
        await asked(socket, chat, "chart")
        page = await socket.until_ended(SECONDS)
    upload = await Upload.objects.aget()
    assert f'<img src="/chat/files/{upload.id}/" alt="Image 1 of 1 from trial__chart"' in page.html
    assert (upload.type, upload.user_id, upload.size) == ("image/png", chat.users.owner.pk, 70)
    *_, reply, shown = chat.upstream.requests[-1].body["messages"]
    assert reply["role"] == "tool"
    assert shown["content"][1]["image_url"]["url"] == f"data:image/png;base64,{CHART}"


async def test_the_next_question_shows_the_model_the_image_again_until_it_is_deleted(chat: Chat, server: ToolServer) -> None:
    async with chat.open() as socket:
        await asked(socket, chat, "chart")
        await socket.until_ended(SECONDS)
        chat.upstream.script(says("Yes."))
        await socket.say(text="Do you still see it?", model="m")
        await socket.until(lambda page: "Yes." in page.html and page.last_status == "done", SECONDS)
    assert len(chat.upstream.requests) == 3
    assert CHART in str(chat.upstream.requests[-1].body["messages"])
    last = await Message.objects.order_by("-search_id").afirst()
    first = await Message.objects.filter(parent=None).aget()
    assert last
    await sync_to_async(chat_services.delete_from)(message=last)
    assert await Upload.objects.acount() == 1, "an answer that stays shows it"
    await sync_to_async(chat_services.delete_from)(message=await Message.objects.select_related("conversation").aget(pk=first.pk))
    assert await Upload.objects.acount() == 0


async def test_a_model_that_takes_no_images_gets_the_note(chat: Chat, server: ToolServer) -> None:
    refusal = error("This model does not support image input.")
    chat.upstream.script(says(tool_calls=[("trial__chart", "{}")]), refusal, says("Done."))
    async with chat.open() as socket:
        await socket.say(text="Go", model="m")
        page = await socket.until_ended(SECONDS)
    assert page.last_status == "done"
    assert chat.tool_results() == ["[image: image/png, 70 bytes]"]
    assert CHART not in str(chat.upstream.requests[-1].body["messages"])


async def test_a_server_that_is_gone_is_said_and_shown(chat: Chat, server: ToolServer, remote: McpServer) -> None:
    remote.stop()
    async with chat.open() as socket:
        await asked(socket, chat, "add", '{"a": 2, "b": 3}')
        page = await socket.until_ended(SECONDS)
    assert page.last_status == "done"
    assert "trial" in chat.tool_results()[-1]
    await server.arefresh_from_db()
    assert "ended the connection" in server.error


async def test_a_tool_that_changed_is_not_run_and_asks_from_then_on(chat: Chat, server: ToolServer) -> None:
    await ServerTool.objects.filter(name="add").aupdate(description="Another tool", approval="always")
    async with chat.open() as socket:
        await asked(socket, chat, "add", '{"a": 2, "b": 3}')
        await socket.until_ended(SECONDS)
    assert "was not run" in chat.tool_results()[-1]
    tool = await ServerTool.objects.aget(name="add")
    assert (tool.approval, tool.description) == ("ask", "Add two numbers.")
    assert tool.changed_at is not None


async def test_a_tool_that_the_server_adds_is_offered_with_the_next_question(chat: Chat, server: ToolServer) -> None:
    await ServerTool.objects.filter(name="learn").aupdate(approval="always")
    async with chat.open() as socket:
        await asked(socket, chat, "learn", '{"name": "dance"}')
        await socket.until_ended(SECONDS)
        await listed("dance")
        chat.upstream.script(says(tool_calls=[("trial__dance", "{}")]), says("Danced."))
        await socket.say(text="Go", model="m")
        await socket.until(lambda page: "Danced." in page.html, SECONDS)
    assert "trial__dance" in chat.offered()
    assert chat.tool_results()[-1] == "new"


async def test_progress_shows_as_a_bar(chat: Chat, server: ToolServer) -> None:
    async with chat.open() as socket:
        await asked(socket, chat, "count")
        page = await socket.until(lambda page: "<progress" in page.html, SECONDS)
        assert re.search(r'<progress value="\d" max="4" aria-label="step \d">', page.html)
        await socket.until_ended(SECONDS)
    assert chat.tool_results() == ["counted"]


async def test_stop_ends_a_running_call(chat: Chat, server: ToolServer) -> None:
    async with chat.open() as socket:
        await asked(socket, chat, "hang")
        await socket.until(lambda page: "tool-card" in page.html, SECONDS)
        await socket.say("stop")
        page = await socket.until_ended(SECONDS)
    assert page.last_status == "stopped"


def answer_fields(page: Page, **fields: str) -> dict[str, str]:
    call = re.findall(r'name="call" value="([^"]+)"', page.html)[-1]
    return {"call": call, "answer": "accept", **{f"field.{name}": value for name, value in fields.items()}}


async def test_a_question_of_the_server_is_a_form_in_the_card(chat: Chat, server: ToolServer) -> None:
    async with chat.open() as socket:
        await asked(socket, chat, "greet")
        page = await socket.until(lambda page: "tool-input" in page.html, SECONDS)
        assert "Who are you?" in page.html
        assert "Your first name" in page.html
        assert '<input type="number" step="1"' in page.html
        await socket.say(**answer_fields(page, name="Ada", age="many"), action="answer")
        await socket.until(lambda page: "is not of type" in page.html, SECONDS)
        await socket.say(**answer_fields(page, name="Ada", age="36"), action="answer")
        await socket.until_ended(SECONDS)
    assert chat.tool_results() == ["accept name='Ada' age=36"]


async def test_a_question_can_be_declined(chat: Chat, server: ToolServer) -> None:
    async with chat.open() as socket:
        await asked(socket, chat, "greet")
        page = await socket.until(lambda page: "tool-input" in page.html, SECONDS)
        await socket.say(**{**answer_fields(page), "answer": "decline"}, action="answer")
        await socket.until_ended(SECONDS)
    assert chat.tool_results() == ["decline None"]


async def test_the_calls_of_one_answer_are_limited(chat: Chat, server: ToolServer) -> None:
    await ToolServer.objects.aupdate(max_calls=1)
    async with chat.open() as socket:
        calls = [("trial__add", '{"a": 1, "b": 1}'), ("trial__count", '{"steps": 1}')]
        chat.upstream.script(says(tool_calls=calls), says("Done."))
        await socket.say(text="Go", model="m")
        await socket.until_ended(SECONDS)
    results = sorted(chat.tool_results())
    assert results[0] in {"2", "counted"}
    assert "1 times in one answer" in results[1]


@pytest.mark.parametrize("state", ["asking", "input"])
def test_a_question_stands_outside_the_folded_card(state: str) -> None:
    """The page keeps a card open or closed as the user left it, so a form inside a closed one would stay hidden."""
    question = {"message": "Who?", "schema": {"properties": {"name": {"type": "string"}}}, "url": ""}
    html = tool_card({"id": "call_0", "name": "t", "arguments": "{}", "state": state, "question": question})
    assert "<form" not in html.partition("</details>")[0]
    assert "<form" in html.partition("</details>")[2]
