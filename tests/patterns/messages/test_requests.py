"""A Messages request becomes the chat completion that asks for the same."""

from __future__ import annotations

from typing import Any

import pytest

from webapp.patterns.errors import InputError
from webapp.patterns.messages import check_count, check_request, to_chat, wants_thinking

HELLO: Any = [{"role": "user", "content": "Hello"}]
PIXEL = {"type": "base64", "media_type": "image/gif", "data": "R0lGOD"}


def chat(messages: Any = None, **fields: Any) -> dict[str, Any]:
    body = {"model": "m", "max_tokens": 100, "messages": HELLO if messages is None else messages, **fields}
    check_request(body)
    return to_chat(body)


def user(*blocks: Any) -> Any:
    return [{"role": "user", "content": list(blocks)}]


def text(value: str, **fields: Any) -> Any:
    return {"type": "text", "text": value, **fields}


def test_the_plain_fields_are_carried_over() -> None:
    body = chat(temperature=0.3, top_p=0.9, top_k=40, stop_sequences=["END"], stream=True)
    assert body == {
        "model": "m",
        "messages": HELLO,
        "max_tokens": 100,
        "temperature": 0.3,
        "top_p": 0.9,
        "top_k": 40,
        "stop": ["END"],
        "stream": True,
    }


def test_fields_for_anthropics_servers_are_left_out() -> None:
    body = chat(
        metadata={"user_id": "u"},
        service_tier="auto",
        context_management={"edits": [{"type": "clear_tool_uses_20250919"}]},
        cache_control={"type": "ephemeral"},
        container=None,
        inference_geo="us",
        anything_new={"x": 1},
    )
    assert body.keys() == {"model", "messages", "max_tokens"}


def test_a_limit_of_zero_asks_for_the_shortest_answer() -> None:
    assert to_chat({"model": "m", "max_tokens": 0, "messages": HELLO})["max_tokens"] == 1


@pytest.mark.parametrize("system", ["Be brief.", [text("Be brief.", cache_control={"type": "ephemeral"})]])
def test_the_system_prompt_becomes_the_first_message(system: Any) -> None:
    assert chat(system=system)["messages"] == [{"role": "system", "content": "Be brief."}, *HELLO]


def test_system_blocks_are_one_message_without_the_billing_header_of_claude_code() -> None:
    blocks = [text("x-anthropic-billing-header: cc_version=2; cch=ab12;"), text("You are an agent."), text("Be brief.")]
    assert chat(system=blocks)["messages"][0] == {"role": "system", "content": "You are an agent.\n\nBe brief."}


def test_an_empty_system_prompt_is_no_message() -> None:
    assert chat(system="")["messages"] == HELLO
    assert chat(system=None)["messages"] == HELLO


def test_a_system_message_in_the_conversation_is_told_by_the_user() -> None:
    messages = [*HELLO, {"role": "system", "content": "Now in French."}, {"role": "assistant", "content": "Bonjour"}]
    assert chat(messages)["messages"] == [
        {"role": "user", "content": "Hello\n\n<system-reminder>\nNow in French.\n</system-reminder>"},
        {"role": "assistant", "content": "Bonjour"},
    ]


def test_a_system_message_that_begins_the_conversation_joins_the_system_prompt() -> None:
    messages = [{"role": "system", "content": [text("In French.")]}, *HELLO]
    assert chat(messages, system="Be brief.")["messages"] == [{"role": "system", "content": "Be brief.\n\nIn French."}, *HELLO]


def test_text_blocks_become_one_string() -> None:
    assert chat(user(text("a"), text("b")))["messages"] == [{"role": "user", "content": "a\n\nb"}]


def test_consecutive_messages_of_one_role_are_one_turn() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": [text("b")]}, {"role": "assistant", "content": "c"}]
    assert chat(messages)["messages"] == [{"role": "user", "content": "a\n\nb"}, {"role": "assistant", "content": "c"}]


def test_pictures_become_image_parts() -> None:
    blocks = user(text("see"), {"type": "image", "source": PIXEL}, {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}})
    assert chat(blocks)["messages"][0]["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGOD"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
    ]


def test_a_picture_that_lies_in_anthropics_files_is_refused() -> None:
    with pytest.raises(InputError, match="'file'"):
        chat(user({"type": "image", "source": {"type": "file", "file_id": "file_1"}}))


def test_a_pdf_becomes_a_file_part_with_its_title() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
    content = chat(user({"type": "document", "source": source, "title": "Plan", "context": "For May."}))["messages"][0]["content"]
    assert content == [
        {"type": "text", "text": "Document: Plan\nFor May."},
        {"type": "file", "file": {"filename": "Plan", "file_data": "data:application/pdf;base64,JVBE"}},
    ]


def test_documents_of_text_become_text() -> None:
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "All of it."}, "title": "Note"}
    parts = {"type": "document", "source": {"type": "content", "content": [text("One."), text("Two.")]}}
    assert chat(user(plain, parts))["messages"][0]["content"] == "Document: Note\nAll of it.\n\nOne.\n\nTwo."


def test_a_document_of_blocks_keeps_its_title_and_its_pictures() -> None:
    source = {"type": "content", "content": [{"type": "image", "source": PIXEL}]}
    content = chat(user({"type": "document", "source": source, "title": "Scan"}))["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url"]


def test_a_document_in_a_file_store_is_named_by_its_id() -> None:
    content = chat(user({"type": "document", "source": {"type": "file", "file_id": "file_1"}}))["messages"][0]["content"]
    assert content == [{"type": "file", "file": {"file_id": "file_1"}}]


def test_a_document_at_an_address_is_refused() -> None:
    with pytest.raises(InputError, match="'url'"):
        chat(user({"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}))


def test_a_search_result_is_told_as_text() -> None:
    block = {"type": "search_result", "source": "https://x", "title": "Found", "content": [text("It is so.")]}
    assert chat(user(block))["messages"][0]["content"] == "Found\nhttps://x\nIt is so."


def test_an_unknown_block_keeps_its_text() -> None:
    block = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"title": "Zebra"}], "cache_control": None}
    content = chat(user(block))["messages"][0]["content"]
    assert "Zebra" in content
    assert "cache_control" not in content


def test_tools_become_functions() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {
        "name": "weather",
        "description": "The weather.",
        "input_schema": schema,
        "strict": True,
        "cache_control": {"type": "ephemeral"},
    }
    bare = {"type": "custom", "name": "now", "input_schema": {"type": "object"}}
    assert chat(tools=[tool, bare])["tools"] == [
        {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": schema, "strict": True}},
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}},
    ]


@pytest.mark.parametrize(
    ("kind", "name"), [("bash_20250124", "bash"), ("text_editor_20250728", "str_replace_based_edit_tool"), ("memory_20250818", "memory")]
)
def test_tools_that_the_client_runs_get_the_schema_that_anthropic_gives_them(kind: str, name: str) -> None:
    function = chat(tools=[{"type": kind, "name": name}])["tools"][0]["function"]
    assert function["name"] == name
    assert "command" in function["parameters"]["properties"]
    assert function["description"]


def test_tools_that_run_at_anthropic_are_left_out_beside_others() -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}, {"name": "now", "input_schema": {"type": "object"}}]
    assert [tool["function"]["name"] for tool in chat(tools=tools)["tools"]] == ["now"]


def test_a_request_for_such_tools_alone_is_refused() -> None:
    with pytest.raises(InputError, match="web_search_20250305") as caught:
        chat(tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert caught.value.param == "tools"


def test_tool_servers_that_anthropic_would_call_are_left_out_beside_tools_and_refused_alone() -> None:
    servers = [{"type": "url", "url": "https://x", "name": "x"}]
    sent = chat(mcp_servers=servers, tools=[{"name": "now", "input_schema": {"type": "object"}}, {"type": "mcp_toolset"}])
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["now"]
    with pytest.raises(InputError, match="mcp_servers"):
        chat(mcp_servers=servers)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "now"}, {"tool_choice": {"type": "function", "function": {"name": "now"}}}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"tool_choice": "auto", "parallel_tool_calls": False}),
    ],
)
def test_the_tool_choice_is_translated(choice: Any, expected: Any) -> None:
    body = chat(tools=[{"name": "now", "input_schema": {"type": "object"}}], tool_choice=choice)
    assert {name: body[name] for name in expected} == expected
    assert ("parallel_tool_calls" in body) == ("parallel_tool_calls" in expected)


def test_a_tool_choice_without_tools_is_left_out() -> None:
    assert "tool_choice" not in chat(tool_choice={"type": "auto"})


def test_calls_and_results_become_tool_calls_and_tool_messages() -> None:
    calls = [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        text("I look."),
        {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Köln"}},
        {"type": "tool_use", "id": "t2", "name": "now", "input": {}},
    ]
    results = [
        {"type": "tool_result", "tool_use_id": "t1", "content": "rain"},
        {"type": "tool_result", "tool_use_id": "t2", "content": [text("12:00"), text("UTC")], "is_error": False},
        text("And tomorrow?"),
    ]
    sent = chat([*HELLO, {"role": "assistant", "content": calls}, {"role": "user", "content": results}])["messages"][1:]
    assert sent == [
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}},
                {"id": "t2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "rain"},
        {"role": "tool", "tool_call_id": "t2", "content": "12:00\nUTC"},
        {"role": "user", "content": "And tomorrow?"},
    ]


def test_an_assistant_that_only_calls_has_no_text() -> None:
    calls = [{"type": "tool_use", "id": "t1", "name": "now", "input": {}}]
    sent = chat([*HELLO, {"role": "assistant", "content": calls}, *user({"type": "tool_result", "tool_use_id": "t1"})])["messages"]
    assert sent[1]["content"] is None
    assert sent[2] == {"role": "tool", "tool_call_id": "t1", "content": ""}


def test_a_failed_tool_says_so() -> None:
    block = {"type": "tool_result", "tool_use_id": "t1", "content": "no such file", "is_error": True}
    assert chat(user(block))["messages"] == [{"role": "tool", "tool_call_id": "t1", "content": "Error: no such file"}]


def test_a_picture_that_a_tool_returned_follows_in_the_users_message() -> None:
    block = {"type": "tool_result", "tool_use_id": "t1", "content": [text("a shot"), {"type": "image", "source": PIXEL}]}
    tool, asked = chat(user(block, text("What is on it?")))["messages"]
    assert tool["content"].startswith("a shot\n[The tool returned")
    assert [part["type"] for part in asked["content"]] == ["image_url", "text"]


def test_a_reference_to_a_found_tool_is_told_as_text() -> None:
    block = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "tool_reference", "tool_name": "weather"}]}
    assert chat(user(block))["messages"][0]["content"] == "Tool available: weather"


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, None),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, None),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}, "medium"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "high"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 31_999}}, "high"),
    ],
)
def test_thinking_becomes_a_reasoning_effort(fields: Any, effort: str | None) -> None:
    assert chat(**fields).get("reasoning_effort") == effort


@pytest.mark.parametrize(
    ("thinking", "shown"),
    [
        (None, False),
        ({"type": "disabled"}, False),
        ({"type": "enabled", "budget_tokens": 2000}, True),
        ({"type": "adaptive"}, True),
        ({"type": "adaptive", "display": "omitted"}, False),
    ],
)
def test_reasoning_is_shown_to_those_who_asked_for_it(thinking: Any, shown: bool) -> None:
    assert wants_thinking({"thinking": thinking}) is shown


@pytest.mark.parametrize("field", ["output_config", "output_format"])
def test_a_schema_for_the_answer_becomes_a_response_format(field: str) -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    body = chat(**{field: {"format": wanted} if field == "output_config" else wanted})
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": {"type": "object"}, "strict": True},
    }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ({}, "model"),
        ({"model": "m", "messages": HELLO}, "max_tokens"),
        ({"model": "m", "max_tokens": 1}, "messages"),
        ({"model": "m", "max_tokens": 1, "messages": []}, "messages"),
        ({"model": "m", "max_tokens": "many", "messages": HELLO}, "max_tokens"),
        ({"model": "m", "max_tokens": 1, "messages": [{"role": "tool", "content": ""}]}, "messages[0].role"),
        ({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].source"),
        ({"model": "m", "max_tokens": 1, "messages": HELLO, "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"model": "m", "max_tokens": 1, "messages": HELLO, "api_base": "http://evil"}, "api_base"),
    ],
)
def test_a_request_that_the_protocol_does_not_allow_is_refused(body: Any, param: str | None) -> None:
    with pytest.raises(InputError) as caught:
        check_request(body)
    assert caught.value.param == param


def test_tokens_are_counted_of_a_request_without_a_limit() -> None:
    check_count({"model": "m", "messages": HELLO})
    assert "max_tokens" not in to_chat({"model": "m", "messages": HELLO})
    with pytest.raises(InputError):
        check_count({"model": "m"})
