"""Input items in all their forms, and the chat messages they stand for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from webapp.patterns.errors import InputError
from webapp.patterns.responses.items import DECLINED, messages_from, normalize_input, text_parts, without_references
from webapp.patterns.responses.tools import ToolSet


def messages(*items: Any, instructions: Any = None, tools: Any = ()) -> list[Any]:
    return messages_from(normalize_input(list(items)), instructions=instructions, tools=ToolSet.of(tools))


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def call(name: str = "f", call_id: str = "c1", arguments: str = "{}", **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments, **fields}


def output(call_id: str = "c1", text: Any = "done", kind: str = "function_call_output") -> dict[str, Any]:
    return {"type": kind, "call_id": call_id, "output": text}


def test_text_alone_is_one_user_message() -> None:
    [item] = normalize_input("hi")
    assert item["type"] == "message"
    assert item["role"] == "user"
    assert item["content"] == [{"type": "input_text", "text": "hi"}]
    assert item["id"].startswith("msg_")


def test_no_input_is_no_item() -> None:
    assert normalize_input(None) == []


def test_an_assistant_text_becomes_output_text_with_what_the_schema_requires() -> None:
    [item] = normalize_input([{"role": "assistant", "content": "yes"}])
    assert item["content"] == [{"type": "output_text", "text": "yes", "annotations": [], "logprobs": []}]


def test_an_id_alone_is_a_reference() -> None:
    [item] = normalize_input([{"id": "msg_1"}])
    assert item == {"type": "item_reference", "id": "msg_1"}
    assert without_references([item]) == []


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (7, "input"),
        (["text"], "input[0]"),
        ([{"name": "f"}], "input[0].type"),
        ([{"type": "message", "content": "x"}], "input[0].role"),
        ([{"role": "user"}], "input[0].content"),
    ],
)
def test_what_is_no_item_is_refused_by_its_place(given: Any, param: str) -> None:
    with pytest.raises(InputError) as caught:
        normalize_input(given)
    assert caught.value.param == param


def test_the_first_system_texts_become_one_message() -> None:
    made = messages({"role": "developer", "content": "b"}, {"role": "system", "content": "c"}, user("hi"), instructions="a")
    assert made == [{"role": "system", "content": "a\n\nb\n\nc"}, user("hi")]


def test_a_later_system_text_stays_where_it_is() -> None:
    made = messages(user("hi"), {"role": "developer", "content": "now in French"})
    assert made == [user("hi"), {"role": "system", "content": "now in French"}]


def test_instructions_may_be_items() -> None:
    assert messages(user("hi"), instructions=[{"role": "system", "content": "a"}])[0] == {"role": "system", "content": "a"}


def test_calls_side_by_side_are_one_assistant_message_with_its_text() -> None:
    said = {"role": "assistant", "content": "Let me look."}
    made = messages(user("hi"), said, call("f", "c1"), call("g", "c2"), output("c2", "two"), output("c1", "one"))
    assert made[1]["content"] == "Let me look."
    assert [each["function"]["name"] for each in made[1]["tool_calls"]] == ["f", "g"]
    assert [(each["tool_call_id"], each["content"]) for each in made[2:]] == [("c1", "one"), ("c2", "two")]


def test_a_call_that_was_never_answered_gets_an_answer() -> None:
    made = messages(user("hi"), call())
    assert made[-1]["role"] == "tool"
    assert "not run" in made[-1]["content"]


def test_a_custom_call_goes_out_as_the_function_it_came_from() -> None:
    made = messages({"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "a\nb"}, output(kind="custom_tool_call_output"))
    function = made[0]["tool_calls"][0]["function"]
    assert function["name"] == "patch"
    assert json.loads(function["arguments"]) == {"input": "a\nb"}
    assert made[1]["content"] == "done"


def test_a_call_in_a_namespace_keeps_its_joined_name() -> None:
    made = messages(call("read", namespace="files"), output())
    assert made[0]["tool_calls"][0]["function"]["name"] == "files__read"


def test_shell_calls_are_calls_of_the_shell() -> None:
    item = {"type": "local_shell_call", "call_id": "c1", "action": {"command": ["ls"]}}
    made = messages(item, output(kind="local_shell_call_output"))
    assert made[0]["tool_calls"][0]["function"]["name"] == "local_shell"
    assert made[1]["content"] == "done"


def test_images_in_an_output_follow_in_a_user_message() -> None:
    parts = [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "data:image/png;base64,AA"}]
    made = messages(call(), output(text=parts))
    assert made[1] == {"role": "tool", "tool_call_id": "c1", "content": "see"}
    assert made[2]["content"][1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


def test_an_output_that_is_no_text_goes_out_as_json() -> None:
    assert messages(call(), output(text={"a": 1}))[1]["content"] == '{"a":1}'


def test_reasoning_and_unknown_items_are_left_out() -> None:
    made = messages({"type": "reasoning", "summary": []}, {"type": "web_search_call", "id": "ws_1"}, user("hi"))
    assert made == [user("hi")]


def test_a_file_search_shows_what_it_found() -> None:
    found = [{"file_id": "f1", "filename": "a.txt", "score": 0.9, "text": "the passage"}]
    made = messages({"type": "file_search_call", "id": "fs_1", "queries": ["q"], "results": found})
    assert made[0]["tool_calls"][0]["function"]["name"] == "file_search"
    assert "the passage" in made[1]["content"]
    forgotten = messages({"type": "file_search_call", "id": "fs_1", "queries": ["q"], "results": None})
    assert "not kept" in forgotten[1]["content"]


def test_a_call_of_a_tool_server_shows_its_output_or_its_error() -> None:
    item = {"type": "mcp_call", "id": "mcp_1", "server_label": "wiki", "name": "read", "arguments": "{}", "output": "page"}
    made = messages(item)
    assert made[0]["tool_calls"][0]["function"]["name"] == "wiki__read"
    assert made[1]["content"] == "page"
    broken = messages({**item, "output": None, "error": {"content": [{"type": "text", "text": "down"}]}})
    assert broken[1]["content"] == "down"
    assert messages({**item, "output": None, "error": {"message": "gone"}})[1]["content"] == "gone"
    assert messages({**item, "output": None, "error": "gone"})[1]["content"] == "gone"


def test_a_declined_call_says_so_and_one_without_a_decision_is_left_out() -> None:
    asked = {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "wiki", "name": "write", "arguments": "{}"}
    declined = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": False}
    assert messages(asked, declined)[1]["content"] == DECLINED
    assert messages(user("hi"), asked) == [user("hi")]
    assert messages(user("hi"), asked, {**declined, "approve": True}) == [user("hi")]


def test_a_compaction_stands_as_a_summary() -> None:
    made = messages({"type": "compaction", "encrypted_content": "They said hello."}, user("hi"))
    assert made[0]["role"] == "system"
    assert "They said hello." in made[0]["content"]


def test_files_and_images_become_parts() -> None:
    content = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "high"},
        {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGVsbG8="},
        {"type": "input_file", "filename": "a.csv", "file_data": "data:text/csv,a;b"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
        {"type": "input_file", "filename": "bad.txt", "file_data": "data:text/plain;base64,%%"},
        {"type": "input_file", "file_url": "https://example.org/b"},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "x"}},
    ]
    parts = messages({"role": "user", "content": content})[0]["content"]
    assert parts[0] == {"type": "text", "text": "look"}
    assert parts[1] == {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "high"}}
    assert parts[2] == {"type": "text", "text": "[File: a.txt]\nhello"}
    assert parts[3] == {"type": "text", "text": "[File: a.csv]\na;b"}
    assert parts[4] == {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}
    assert parts[5]["type"] == "file"
    assert parts[6]["text"] == "[File at https://example.org/b]"
    assert parts[7] == {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}
    assert parts[8] == content[8]


def test_nothing_but_text_parts_is_one_text() -> None:
    content = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    assert messages({"role": "user", "content": content}) == [user("a\nb")]


def test_a_refusal_of_before_is_said_again() -> None:
    made = messages({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, user("why"))
    assert made[0] == {"role": "assistant", "content": "No."}


def test_the_texts_of_messages_can_be_listed() -> None:
    assert list(text_parts(normalize_input([user("a"), call()]))) == ["a"]
