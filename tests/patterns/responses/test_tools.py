"""Tools of a request, as functions of chat completions."""

from __future__ import annotations

from typing import Any

import pytest

from webapp.patterns.responses.tools import CalledTool, ListedTool, ToolSet, joined_name

FUNCTION = {"type": "function", "name": "f", "description": "Does f.", "parameters": {"type": "object", "properties": {}}, "strict": True}
CUSTOM = {
    "type": "custom",
    "name": "patch",
    "description": "Edit.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
}


def test_a_function_keeps_all_that_it_says() -> None:
    [entry] = ToolSet.of([FUNCTION]).functions
    assert entry["function"] == {
        "name": "f", "description": "Does f.", "parameters": {"type": "object", "properties": {}}, "strict": True,
    }  # fmt: skip


def test_a_function_without_parameters_takes_none() -> None:
    [entry] = ToolSet.of([{"type": "function", "name": "f"}]).functions
    assert entry["function"] == {"name": "f", "parameters": {"type": "object", "properties": {}}}


def test_a_freeform_tool_takes_one_text_and_says_its_grammar() -> None:
    tools = ToolSet.of([CUSTOM])
    function = tools.functions[0]["function"]
    assert function["parameters"]["required"] == ["input"]
    assert "lark grammar" in function["description"]
    assert tools.called("patch") == CalledTool("custom", "patch")


def test_a_namespace_offers_its_functions_under_joined_names() -> None:
    tools = ToolSet.of([{"type": "namespace", "name": "files", "description": "", "tools": [FUNCTION, CUSTOM]}])
    assert [entry["function"]["name"] for entry in tools.functions] == ["files__f", "files__patch"]
    assert tools.called("files__f") == CalledTool("function", "f", "files")


@pytest.mark.parametrize("kind", ["web_search", "code_interpreter", "image_generation", "something_new"])
def test_hosted_tools_are_left_out(kind: str) -> None:
    tools = ToolSet.of([{"type": kind}, FUNCTION])
    assert tools.ignored == [kind]
    assert len(tools.functions) == 1


def test_the_shell_is_a_function() -> None:
    assert ToolSet.of([{"type": "local_shell"}]).functions[0]["function"]["name"] == "local_shell"


def test_tools_that_run_here_are_told_apart() -> None:
    tools = ToolSet.of([{"type": "file_search", "vector_store_ids": ["a"]}, {"type": "mcp", "server_label": "wiki"}])
    tools.add_server_tools("wiki", [ListedTool("read page", schema={"type": "object"})])
    assert tools.runs_here
    assert tools.called("file_search").runs_here
    called = tools.called("wiki__read_page")
    assert (called.kind, called.name, called.server) == ("mcp", "read page", "wiki")
    assert not ToolSet.of([FUNCTION]).runs_here


def test_an_unknown_call_is_a_function_of_the_caller() -> None:
    assert ToolSet.of([]).called("g") == CalledTool("function", "g")


def test_joined_names_fit_what_a_function_may_be_named() -> None:
    assert joined_name("my server", "read/page") == "my_server__read_page"
    assert len(joined_name("s" * 50, "t" * 50)) == 64


ALL: list[Any] = [FUNCTION, CUSTOM, {"type": "file_search", "vector_store_ids": ["a"]}]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", None),
        (None, None),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        ({"type": "custom", "name": "patch"}, {"type": "function", "function": {"name": "patch"}}),
        ({"type": "file_search"}, {"type": "function", "function": {"name": "file_search"}}),
        ({"type": "mcp", "server_label": "wiki", "name": "read"}, {"type": "function", "function": {"name": "wiki__read"}}),
        ({"type": "allowed_tools", "mode": "required", "tools": []}, "required"),
        ({"type": "allowed_tools", "mode": "auto", "tools": []}, None),
        ({"type": "web_search"}, None),
    ],
)
def test_the_choice_of_a_tool(choice: Any, expected: Any) -> None:
    assert ToolSet.of(ALL).choice(choice) == expected


def test_there_is_no_choice_without_tools() -> None:
    assert ToolSet.of([]).choice("required") is None


def test_allowed_tools_narrow_the_offer() -> None:
    tools = ToolSet.of([*ALL, {"type": "mcp", "server_label": "wiki"}])
    tools.add_server_tools("wiki", [ListedTool("read")])

    def names(*allowed: Any) -> list[str]:
        choice = {"type": "allowed_tools", "mode": "auto", "tools": list(allowed)}
        return [entry["function"]["name"] for entry in tools.offered(choice)]

    assert names({"type": "function", "name": "f"}) == ["f"]
    assert names({"type": "file_search"}) == ["file_search"]
    assert names({"type": "mcp", "server_label": "wiki"}) == ["wiki__read"]
    assert len(tools.offered("auto")) == 4
