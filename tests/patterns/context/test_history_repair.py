"""Any stored conversation as servers demand it."""

from __future__ import annotations

import pytest

from tests.patterns.scripted import QUESTION, Scripted, says
from webapp.patterns.agent import loop
from webapp.patterns.agent.tools import ToolRegistry
from webapp.patterns.types import Message, Request, ToolCall


def asking(*ids: str, arguments: str = "{}") -> Message:
    return {"role": "assistant", "content": None, "tool_calls": [ToolCall(id, "look", arguments).as_message_part() for id in ids]}  # noqa: A001


def reply(id: str, text: str = "seen") -> Message:  # noqa: A002
    return {"role": "tool", "tool_call_id": id, "content": text}


class TestRepair:
    def test_a_sound_conversation_stays_as_it_is(self) -> None:
        sound = [*QUESTION, asking("a", "b"), reply("a"), reply("b"), {"role": "assistant", "content": "ok"}]
        assert loop.repair(sound) == sound

    def test_a_dangling_call_gets_a_reply_that_says_so(self) -> None:
        repaired = loop.repair([asking("a", "b"), reply("b"), {"role": "user", "content": "go on"}])
        assert [message.get("tool_call_id") for message in repaired] == [None, "a", "b", None]
        assert repaired[1]["content"] == "[This call was not run: the answer was stopped before it.]"

    def test_late_and_shuffled_replies_go_to_their_call(self) -> None:
        user = {"role": "user", "content": "and?"}
        assert loop.repair([asking("a", "b"), reply("b"), user, reply("a")]) == [asking("a", "b"), reply("a"), reply("b"), user]

    def test_the_same_id_in_two_turns_is_two_calls(self) -> None:
        turns = [asking("a"), reply("a", "1"), asking("a"), reply("a", "2")]
        assert loop.repair(turns) == turns

    def test_replies_without_a_call_are_left_out(self) -> None:
        assert loop.repair([reply("x"), *QUESTION, reply("y")]) == QUESTION

    def test_an_empty_list_of_calls_is_left_out(self) -> None:
        assert loop.repair([{"role": "assistant", "content": "hi", "tool_calls": []}]) == [{"role": "assistant", "content": "hi"}]
        assert loop.repair([{"role": "assistant", "content": "hi", "tool_calls": None}]) == [{"role": "assistant", "content": "hi"}]

    @pytest.mark.parametrize("arguments", ['{"a', "", "null", "[1]", '"{}"'])
    def test_arguments_that_servers_choke_on_are_emptied(self, arguments: str) -> None:
        assert loop.repair([asking("a", arguments=arguments), reply("a")])[0] == asking("a")

    async def test_a_run_begins_with_a_repaired_conversation(self, tools: ToolRegistry) -> None:
        backend = Scripted(says("ok"))
        await loop.complete(backend, Request.chat([*QUESTION, asking("a")]), tools)
        assert backend.requests[0].messages[-1]["role"] == "tool"
