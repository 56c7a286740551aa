"""Tools of a request: what each type becomes as a function of chat completions, and how a call finds its way back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from webapp.patterns.types import Json

FILE_SEARCH: Final = "file_search"
MAX_NAME_CHARS: Final = 64
IGNORED: Final = frozenset(
    {
        "web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11", "code_interpreter",
        "image_generation",
        "computer", "computer_use_preview", "computer_use", "tool_search", "programmatic_tool_calling",
    }
)  # fmt: skip
"""Tools that OpenAI hosts and no route can run: left out, so that clients which always offer them (Codex, agents) work."""

Kind = Literal["function", "custom", "file_search", "mcp"]

FREEFORM_PARAMETERS: Final[Json] = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input of the tool, as plain text."}},
    "required": ["input"],
    "additionalProperties": False,
}
FILE_SEARCH_PARAMETERS: Final[Json] = {
    "type": "object",
    "properties": {"queries": {"type": "array", "items": {"type": "string"}, "description": "Questions or key words; one to five."}},
    "required": ["queries"],
    "additionalProperties": False,
}
SHELL_PARAMETERS: Final[Json] = {
    "type": "object",
    "properties": {"command": {"type": "array", "items": {"type": "string"}, "description": "The program and its arguments."}},
    "required": ["command"],
}


@dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool of a tool server, and what a call of it may do (`webapp.patterns.agent.approval.Rated`).

    Attributes:
        acts: each call needs approval, whatever the request says.
        read_only: a call changes nothing.
        untrusted: its results hold content from outside.
        external: its arguments leave this machine.
    """

    name: str
    description: str = ""
    schema: Json = field(default_factory=dict)
    acts: bool = False
    read_only: bool = False
    untrusted: bool = True
    external: bool = True

    def shown(self) -> Json:
        """Return the entry of an `mcp_list_tools` item."""
        annotations = {"read_only": self.read_only}
        return {"name": self.name, "description": self.description, "input_schema": self.schema, "annotations": annotations}


@dataclass(frozen=True, slots=True)
class CalledTool:
    """A tool as the caller knows it.

    Attributes:
        kind: "file_search" and "mcp" run on the server, the others at the caller.
        name: the caller's name for it.
        namespace: of a function in a namespace, else empty.
        server: the label of the tool server of an MCP tool, else empty.
        listed: an MCP tool as its server listed it.
    """

    kind: Kind
    name: str
    namespace: str = ""
    server: str = ""
    listed: ListedTool | None = None

    @property
    def runs_here(self) -> bool:
        """Return whether the server runs it, not the caller."""
        return self.kind in {"file_search", "mcp"}


@dataclass(slots=True)
class ToolSet:
    """The tools of one request, as functions of chat completions.

    Attributes:
        functions: entries for `tools` of a chat completion.
        ignored: types that were left out (`IGNORED`).
        file_search: the request's `file_search` tool, where it has one.
        servers: the request's `mcp` tools; their functions are added once they are listed (`add_server_tools`).
    """

    functions: list[Json] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    file_search: Json | None = None
    servers: list[Json] = field(default_factory=list)
    _by_chat_name: dict[str, CalledTool] = field(default_factory=dict)

    @classmethod
    def of(cls, tools: Sequence[Json] | None) -> ToolSet:
        """Return the tool set of a request's `tools`."""
        found = cls()
        for tool in tools or ():
            found._add(tool)
        return found

    @property
    def runs_here(self) -> bool:
        """Return whether the server runs some of these tools."""
        return bool(self.file_search or self.servers)

    def called(self, chat_name: str) -> CalledTool:
        """Return the tool that the model called by this name; an unknown name is a function of the caller's."""
        return self._by_chat_name.get(chat_name) or CalledTool("function", chat_name)

    def chat_name(self, item: Mapping[str, Any]) -> str:
        """Return the name that the model knows the tool of a call item by."""
        name = str(item.get("name") or "")
        prefix = item.get("namespace") or item.get("server_label")
        return joined_name(str(prefix), name) if prefix else name

    def choice(self, wanted: Any) -> Any:
        """Return the `tool_choice` of a chat completion; None where the model may choose freely, or nothing is on offer."""
        if not self.functions:
            return None
        match wanted:
            case "none" | "required":
                return wanted
            case {"type": "function" | "custom", "name": str()}:
                return _forced(self.chat_name(wanted))
            case {"type": "file_search"} if self.file_search:
                return _forced(FILE_SEARCH)
            case {"type": "mcp", "server_label": str(label), "name": str(name)}:
                return _forced(joined_name(label, name))
            case {"type": "allowed_tools"}:
                return "required" if wanted.get("mode") == "required" else None
            case _:
                return None

    def offered(self, wanted: Any) -> list[Json]:
        """Return the functions on offer: those that `tool_choice` allows, where it lists some."""
        if not isinstance(wanted, dict) or wanted.get("type") != "allowed_tools":
            return self.functions
        allowed = {self.chat_name(tool) or tool.get("type") for tool in wanted.get("tools") or () if isinstance(tool, dict)}
        labels = {tool.get("server_label") for tool in wanted.get("tools") or () if isinstance(tool, dict) and not tool.get("name")}
        return [entry for entry in self.functions if self._is_allowed(entry["function"]["name"], allowed, labels)]

    def _is_allowed(self, chat_name: str, allowed: set[Any], labels: set[Any]) -> bool:
        return chat_name in allowed or (self.called(chat_name).server or None) in labels - {None}

    def add_server_tools(self, label: str, tools: Sequence[ListedTool]) -> None:
        """Offer the tools that a tool server listed."""
        for tool in tools:
            self._offer(CalledTool("mcp", tool.name, server=label, listed=tool), tool.description, tool.schema)

    def _add(self, tool: Json, namespace: str = "") -> None:
        name = str(tool.get("name") or "")
        match tool.get("type"):
            case "function":
                self._offer(
                    CalledTool("function", name, namespace), tool.get("description"), tool.get("parameters"), strict=tool.get("strict")
                )
            case "custom":
                self._offer(CalledTool("custom", name, namespace), _freeform_description(tool), FREEFORM_PARAMETERS)
            case "namespace":
                for inner in tool.get("tools") or ():
                    self._add(inner, namespace=name)
            case "file_search":
                self.file_search = tool
                self._offer(CalledTool("file_search", FILE_SEARCH), "Search the attached documents for passages.", FILE_SEARCH_PARAMETERS)
            case "mcp":
                self.servers.append(tool)
            case "local_shell" | "shell":
                self._offer(CalledTool("function", str(tool["type"])), "Run a command in the user's shell.", SHELL_PARAMETERS)
            case kind:
                self.ignored.append(str(kind))

    def _offer(self, tool: CalledTool, description: Any, parameters: Any, *, strict: Any = None) -> None:
        prefix = tool.namespace or tool.server
        chat_name = joined_name(prefix, tool.name) if prefix else tool.name
        function: Json = {"name": chat_name, "parameters": parameters or {"type": "object", "properties": {}}}
        if description:
            function["description"] = description
        if strict:
            function["strict"] = True
        self._by_chat_name[chat_name] = tool
        self.functions.append({"type": "function", "function": function})


def joined_name(prefix: str, name: str) -> str:
    """Return the name of a tool in a namespace or on a tool server, as a function may be named: at most 64 letters, digits, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", f"{prefix}__{name}")[-MAX_NAME_CHARS:]


def _forced(name: str) -> Json:
    return {"type": "function", "function": {"name": name}}


def _freeform_description(tool: Json) -> str:
    """Return the description of a tool that takes plain text, with the grammar its input must follow."""
    text = str(tool.get("description") or "")
    wanted = tool.get("format") or {}
    if wanted.get("type") == "grammar":
        text += f"\n\nThe input must follow this {wanted.get('syntax', '')} grammar:\n{wanted.get('definition', '')}"
    return text.strip()
