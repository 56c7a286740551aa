"""Make tools for a model from typed Python functions.

    registry = ToolRegistry()

    @registry.tool
    async def weather(city: str, days: int = 1) -> str:
        '''Return the forecast for a city.'''

The schema comes from the signature and the docstring, and pydantic validates the arguments. `call` never raises for an error of the model
or the tool: the error becomes a sentence that tells the model how to correct it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import threading
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload
from uuid import UUID

from webapp.patterns.agent import validation_messages
from webapp.patterns.agent.interaction import Ask, Report
from webapp.patterns.errors import InputError, PatternError
from webapp.patterns.images import Image
from webapp.patterns.redaction import redact
from webapp.patterns.types import Json

if TYPE_CHECKING:
    import pydantic

logger = logging.getLogger("patchbay.tools")

Function = TypeVar("Function", bound=Callable[..., Any])
Fault = Literal["", "unknown_tool", "broken_json", "wrong_arguments", "timed_out", "failed", "declined", "not_run"]

DEFAULT_TIMEOUT = 30.0
MAX_RESULT_CHARS = 50_000
MAX_ARGUMENT_CHARS = 1_000_000


class ToolError(PatternError):
    """Raised by a tool to tell the model what it did wrong; the message is the model's to read."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """The user and conversation of a tool call. A tool with a parameter of this type gets it; the model does not see the parameter.

    `request_id` is the key of the attempts that the call belongs to. `report` shows a call's progress to the user, and `ask` asks the
    user. Both are None if no user is watching.
    """

    user_id: int | None = None
    conversation_id: str | None = None
    request_id: UUID | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    report: Report | None = None
    ask: Ask | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call: the text for the model, the kind of fault, if any, and images.

    A tool that has images to show returns one of these itself.
    """

    text: str
    fault: Fault = ""
    images: tuple[Image, ...] = ()


class Tool:
    """One function that a model may call.

    Args:
        function: a sync or async function whose parameters can all be given by name. A sync one runs in a thread of its own, which cannot
            be stopped: after the timeout its result is ignored.
        name, description: instead of the function's name and the first part of its docstring.
        timeout: seconds that one call may take.
        acts: it changes something in the world, or spends, so each call needs approval.
        untrusted: its results hold content from outside. Once one was read, tools that are not `read_only` need approval.
        read_only: a call changes nothing; by default, where it does not act.

    Raises:
        TypeError: the signature cannot be described to a model.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str = "",
        description: str = "",
        timeout: float = DEFAULT_TIMEOUT,
        acts: bool = False,
        untrusted: bool = False,
        read_only: bool | None = None,
    ) -> None:
        self._signature = _checked_signature(function)
        summary, self._documented = _read_docstring(inspect.getdoc(function) or "")
        self.function = function
        self.name = name or function.__name__
        self.description = description or summary
        self.timeout = timeout
        self.acts = acts
        self.untrusted = untrusted
        self.read_only = not acts if read_only is None else read_only
        self.external = False
        """Its arguments leave this machine, so a call with a secret in them needs approval."""
        check_name(self.name)

    @cached_property
    def parameters(self) -> Json:
        """Return the JSON schema of the arguments."""
        schema = self._model.model_json_schema()
        schema.pop("title", None)
        for each in schema.get("properties", {}).values():
            each.pop("title", None)
        return {"properties": {}, **schema}

    def schema(self) -> Json:
        """Return the entry of a request's `tools`."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    def validate(self, arguments: Json) -> Json:
        """Return the keyword arguments for the function, converted to its types.

        Raises:
            pydantic.ValidationError: one is missing, unknown, or of a wrong type.
        """
        values = self._model.model_validate(arguments)
        return {self._model.model_fields[name].alias or name: getattr(values, name) for name in values.model_fields_set}

    async def invoke(self, keywords: Json, context: ToolContext) -> Any:
        """Run the function with validated arguments."""
        if self._context_parameter:
            keywords = {**keywords, self._context_parameter: context}
        if inspect.iscoroutinefunction(self.function):
            return await self.function(**keywords)
        result = await _in_thread(lambda: self.function(**keywords))
        return await result if inspect.isawaitable(result) else result

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self.function, include_extras=True)

    @cached_property
    def _context_parameter(self) -> str:
        return next((name for name, hint in self._hints.items() if hint is ToolContext and name != "return"), "")

    @cached_property
    def _model(self) -> type[pydantic.BaseModel]:
        # Built at the first use: pydantic costs 100 ms, and registering tools happens at start-up.
        import pydantic

        given = [p for p in self._signature.parameters.values() if p.name != self._context_parameter]
        # Fields are numbered and named by alias, since a parameter may have a name that pydantic keeps for itself ("json", "schema").
        fields: dict[str, Any] = {f"p{i}": self._field(parameter) for i, parameter in enumerate(given)}
        return pydantic.create_model(self.name, __config__=pydantic.ConfigDict(extra="forbid"), **fields)

    def _field(self, parameter: inspect.Parameter) -> tuple[Any, Any]:
        import pydantic

        default = ... if parameter.default is parameter.empty else parameter.default
        description = self._documented.get(parameter.name)
        return self._hints.get(parameter.name, Any), pydantic.Field(default, alias=parameter.name, description=description)


class ToolRegistry:
    """Tools by name, in the order of registration."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            self.register(tool)

    def __len__(self) -> int:
        return len(self._tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def get(self, name: str) -> Tool | None:
        """Return the tool with this name."""
        return self._tools.get(name)

    def register(self, tool: Tool) -> Tool:
        """Add a tool; its name must be new."""
        if tool.name in self._tools:
            raise ValueError(f"a tool named {tool.name!r} exists")
        self._tools[tool.name] = tool
        return tool

    @overload
    def tool(self, function: Function, /) -> Function: ...
    @overload
    def tool(self, /, **options: Any) -> Callable[[Function], Function]: ...
    def tool(self, function: Function | None = None, /, **options: Any) -> Function | Callable[[Function], Function]:
        """Register a function, as a decorator with or without `Tool`'s options; the function stays as it is."""

        def register(function: Function) -> Function:
            self.register(Tool(function, **options))
            return function

        return register(function) if function else register

    def only(self, names: Iterable[str]) -> ToolRegistry:
        """Return a registry of only these tools, for example those that a user may use.

        Raises:
            InputError: no such tool.
        """
        return ToolRegistry(self._named(name) for name in names)

    def schemas(self, names: Iterable[str] | None = None) -> list[Json]:
        """Return the entries of a request's `tools`: all, or the named ones.

        Raises:
            InputError: no such tool.
        """
        return [tool.schema() for tool in (self if names is None else map(self._named, names))]

    async def call(self, name: str, arguments: str, context: ToolContext | None = None, *, seconds: float | None = None) -> ToolResult:
        """Run one call of a model. `seconds` can only shorten the tool's own timeout.

        Never raises for errors of the model or the tool: the result describes them for the model. Cancelling cancels the tool.
        """
        tool = self._tools.get(name)
        if not tool:
            return ToolResult(f"There is no tool named {name!r}. The tools are: {', '.join(self._tools) or 'none'}.", "unknown_tool")
        parsed = parse_arguments(arguments)
        if isinstance(parsed, str):
            return ToolResult(parsed, "broken_json")
        keywords = _validated(tool, parsed)
        if isinstance(keywords, ToolResult):
            return keywords
        return await _run(tool, keywords, context or ToolContext(), tool.timeout if seconds is None else min(tool.timeout, seconds))

    def _named(self, name: str) -> Tool:
        try:
            return self._tools[name]
        except KeyError:
            raise InputError(f"There is no tool named {name!r}.", param="tools") from None


def parse_arguments(text: str) -> Json | str:
    """Return the object of a call's arguments, or a sentence about the error in it.

    Empty text and `null` mean no arguments. An object in a JSON string, as some servers send it, is unwrapped.
    """
    import jiter

    if not text.strip():
        return {}
    if len(text) > MAX_ARGUMENT_CHARS:
        return f"The arguments are too long: {len(text):,} characters, at most {MAX_ARGUMENT_CHARS:,} are taken."
    try:
        value = jiter.from_json(text.encode(), allow_inf_nan=False)
        if isinstance(value, str):
            value = jiter.from_json(value.encode(), allow_inf_nan=False)
    except ValueError as error:
        return f"The arguments are not valid JSON: {error}. Call the tool again with one JSON object."
    if value is None:
        return {}
    if not isinstance(value, dict):
        return f"The arguments must be one JSON object, not {type(value).__name__}. Call the tool again."
    return value


def as_text(value: Any, *, limit: int = MAX_RESULT_CHARS) -> str:
    """Return a tool's return value for the model: a string unchanged, anything else as JSON, at most `limit` characters."""
    text = value.encode(errors="replace").decode() if isinstance(value, str) else _json(value)
    return text if len(text) <= limit else f"{text[:limit]}… [cut here: {len(text) - limit:,} more characters]"


def _json(value: Any) -> str:
    from pydantic_core import to_json

    return to_json(value, inf_nan_mode="null", serialize_unknown=True, bytes_mode="base64").decode()


def _validated(tool: Tool, arguments: Json) -> Json | ToolResult:
    from pydantic import ValidationError

    try:
        return tool.validate(arguments)
    except ValidationError as error:
        lines = [f"Wrong arguments for {tool.name}:", *validation_messages.of_pydantic(error), "Correct them and call the tool again."]
        return ToolResult("\n".join(lines), "wrong_arguments")


async def _run(tool: Tool, keywords: Json, context: ToolContext, seconds: float) -> ToolResult:
    # A separate task with a timed wait: even a tool that swallows its cancellation cannot block the loop.
    task = asyncio.ensure_future(tool.invoke(keywords, context))
    try:
        await asyncio.wait({task}, timeout=max(seconds, 0))
    finally:
        if not task.done():
            task.cancel()
    if not task.done():
        return ToolResult(f"{tool.name} did not finish within {seconds:g} s and was stopped.", "timed_out")
    if task.cancelled():
        return ToolResult(f"{tool.name} was cancelled before it finished.", "failed")
    error = task.exception()
    return _failure(tool, error) if error else _result(tool, task.result())


def _result(tool: Tool, value: Any) -> ToolResult:
    if isinstance(value, ToolResult):
        return value
    try:
        return ToolResult(as_text(value))
    except ValueError as error:
        return _failure(tool, error)


def _failure(tool: Tool, error: BaseException) -> ToolResult:
    if isinstance(error, PatternError):
        return ToolResult(error.message, "failed")
    logger.warning("tool %s failed", tool.name, exc_info=error)
    return ToolResult(f"{tool.name} failed: {type(error).__name__}: {redact(as_text(str(error), limit=1000))}", "failed")


async def _in_thread(work: Callable[[], Any]) -> Any:
    """Run `work` in its own daemon thread: a hanging one occupies no pool and does not keep the process alive."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if not outcome.done():  # otherwise timed out or stopped meanwhile
            outcome.set_result((result, error))

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - carried to the waiting task, SystemExit and panics of extensions too
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="tool", daemon=True).start()
    result, error = await outcome
    if error:
        raise error if isinstance(error, Exception) else RuntimeError(repr(error)) from error
    return result


def check_name(name: str) -> None:
    """Raise TypeError for a name that OpenAI's API does not take."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise TypeError(f"{name!r} cannot name a tool: use 1 to 64 letters, digits, underscores and dashes")


def _checked_signature(function: Callable[..., Any]) -> inspect.Signature:
    if not inspect.isroutine(function):
        raise TypeError(f"{function!r} is not a function, so its parameters' types are not known")
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise TypeError(f"parameter {parameter} of {function.__name__} cannot be given by name, so a model cannot give it")
    return signature


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return the description, and those of the parameters from a Google-style `Args:` section."""
    summary, _, rest = text.partition("\nArgs:\n")
    section = re.split(r"\n(?=\S)", rest, maxsplit=1)[0]
    entries = re.findall(r"^ {4}(\w+)(?: \(.*?\))?: *(.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    summary = re.split(r"\n(?:Returns|Raises|Yields|Attributes):\n", summary, maxsplit=1)[0]
    return summary.strip(), {name: " ".join(words.split()) for name, words in entries}
