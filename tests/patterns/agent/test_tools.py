"""Tools from typed functions, and what a model is told when a call goes wrong."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import pydantic
import pytest

from webapp.patterns.agent.tools import MAX_ARGUMENT_CHARS, Tool, ToolContext, ToolError, ToolRegistry, as_text, parse_arguments
from webapp.patterns.errors import InputError


class Point(pydantic.BaseModel):
    x: float
    y: float = 0


@pytest.fixture
def registry() -> ToolRegistry:
    """One tool for each way a tool can be."""
    registry = ToolRegistry()

    @registry.tool
    async def weather(city: str, days: int = 1, unit: Literal["C", "F"] = "C") -> str:
        """The forecast for a city.

        Looks a few days ahead.

        Args:
            city: its name
                in English.
            days (int): how far ahead.

        Returns:
            Text.
        """
        return f"{city} {days} {unit}"

    @registry.tool(timeout=0.05)
    async def slow() -> None:
        """Takes too long."""
        await asyncio.sleep(30)

    @registry.tool(name="deny", description="Says no.", acts=True)
    def refuse(why: str) -> None:
        raise ToolError(f"No: {why}")

    @registry.tool
    def broken() -> None:
        raise LookupError("the shelf is empty")

    return registry


class TestSchemas:
    def test_the_signature_and_the_docstring_make_the_schema(self, registry: ToolRegistry) -> None:
        assert registry.schemas(["weather"]) == [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "The forecast for a city.\n\nLooks a few days ahead.",
                    "parameters": {
                        "type": "object",
                        "properties": {
                            "city": {"type": "string", "description": "its name in English."},
                            "days": {"type": "integer", "default": 1, "description": "how far ahead."},
                            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
                        },
                        "required": ["city"],
                        "additionalProperties": False,
                    },
                },
            }
        ]

    def test_all_tools_are_offered_in_the_order_they_were_registered(self, registry: ToolRegistry) -> None:
        assert [schema["function"]["name"] for schema in registry.schemas()] == ["weather", "slow", "deny", "broken"]

    def test_a_tool_without_parameters_has_an_empty_object(self, registry: ToolRegistry) -> None:
        tool = registry.get("slow")
        assert tool
        assert tool.parameters == {"type": "object", "properties": {}, "additionalProperties": False}

    def test_nested_models_constraints_and_missing_hints_are_described(self) -> None:
        def plot(points: list[Point], scale: Annotated[float, pydantic.Field(gt=0)], note=None) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001 - the case
            """Draw."""
            return f"{points[0].x} {scale} {note}"

        schema = Tool(plot).parameters
        assert schema["properties"]["scale"]["exclusiveMinimum"] == 0
        assert schema["properties"]["points"]["items"] == {"$ref": "#/$defs/Point"}
        assert schema["properties"]["note"] == {"default": None}

    def test_parameters_may_have_names_that_pydantic_keeps_for_itself(self) -> None:
        def tool(json: str, schema: str, _private: str, model_config: str = "m") -> str:
            return json + schema + _private + model_config

        result = asyncio.run(ToolRegistry([Tool(tool)]).call("tool", '{"json": "a", "schema": "b", "_private": "c"}'))
        assert result.text == "abcm"

    @pytest.mark.parametrize("function", [lambda *args: args, lambda **options: options, eval])
    def test_what_cannot_be_called_by_name_is_refused_at_registration(self, function: Any) -> None:
        with pytest.raises(TypeError, match="cannot be given by name"):
            Tool(function, name="tool")

    def test_what_is_no_function_is_refused_at_registration(self) -> None:
        with pytest.raises(TypeError, match="not a function"):
            Tool(partial(print), name="tool")

    @pytest.mark.parametrize("name", ["", "has space", "x" * 65, "naïve"])
    def test_a_name_that_servers_refuse_is_refused_at_registration(self, name: str) -> None:
        def function() -> None: ...

        function.__name__ = name
        with pytest.raises(TypeError, match="cannot name a tool"):
            Tool(function)


class TestRegistry:
    def test_a_decorated_function_stays_a_function(self) -> None:
        registry = ToolRegistry()

        @registry.tool
        def double(n: int) -> int:
            return 2 * n

        assert double(4) == 8
        assert "double" in registry
        assert len(registry) == 1

    def test_a_name_can_be_taken_once(self, registry: ToolRegistry) -> None:
        def slow() -> None: ...

        with pytest.raises(ValueError, match="exists"):
            registry.register(Tool(slow))

    def test_a_part_of_it_is_a_registry_too(self, registry: ToolRegistry) -> None:
        assert [tool.name for tool in registry.only(["deny", "weather"])] == ["deny", "weather"]

    def test_asking_for_an_unknown_tool_is_the_callers_mistake(self, registry: ToolRegistry) -> None:
        with pytest.raises(InputError, match="nothing"):
            registry.schemas(["weather", "nothing"])


class TestCalls:
    async def test_arguments_become_the_functions_types_and_defaults_hold(self, registry: ToolRegistry) -> None:
        result = await registry.call("weather", '{"city": "Oslo", "days": "3"}')
        assert (result.text, result.fault) == ("Oslo 3 C", "")

    async def test_the_context_is_given_to_who_asks_for_it_and_never_shown(self) -> None:
        registry = ToolRegistry()

        @registry.tool
        def whoami(me: ToolContext, greeting: str = "hi") -> str:
            return f"{greeting} {me.user_id} {me.extras}"

        assert "me" not in registry.schemas()[0]["function"]["parameters"]["properties"]
        assert (await registry.call("whoami", "", ToolContext(user_id=7, extras={"a": 1}))).text == "hi 7 {'a': 1}"
        assert (await registry.call("whoami", "")).text == "hi None {}"
        assert (await registry.call("whoami", '{"me": {"user_id": 1}}')).fault == "wrong_arguments"

    async def test_a_sync_function_runs_beside_the_loop(self) -> None:
        threads: list[str] = []

        def work() -> None:
            threads.append(threading.current_thread().name)

        await ToolRegistry([Tool(work)]).call("work", "{}")
        assert threads == ["tool"]

    async def test_a_sync_function_may_return_an_awaitable(self) -> None:
        async def later() -> str:
            return "done"

        def work() -> Coroutine[Any, Any, str]:
            return later()

        result = await ToolRegistry([Tool(work)]).call("work", "{}")
        assert result.text == "done"


class TestFaults:
    """FAULTS 30: a call that is wrong, hangs or raises: the model is told what went wrong."""

    async def test_an_unknown_tool_is_answered_with_the_known_ones(self, registry: ToolRegistry) -> None:
        result = await registry.call("wether", "{}")
        assert result.fault == "unknown_tool"
        assert "weather, slow, deny, broken" in result.text
        assert (await ToolRegistry().call("x", "")).text.endswith("The tools are: none.")

    @pytest.mark.parametrize("arguments", ['{"city": "Os', "city=Oslo", "[1]", '"Oslo"', '"[1]"', "NaN", "\ud800", "[" * 10_000, "3"])
    async def test_broken_json_is_named(self, registry: ToolRegistry, arguments: str) -> None:
        result = await registry.call("weather", arguments)
        assert result.fault == "broken_json"
        assert "JSON" in result.text

    async def test_endless_arguments_are_not_even_parsed(self, registry: ToolRegistry) -> None:
        result = await registry.call("weather", json.dumps({"city": "x" * MAX_ARGUMENT_CHARS}))
        assert result.fault == "broken_json"
        assert "too long" in result.text

    async def test_wrong_arguments_are_listed_by_name(self, registry: ToolRegistry) -> None:
        result = await registry.call("weather", '{"days": "many", "town": "Oslo", "unit": "K"}')
        assert result.fault == "wrong_arguments"
        assert "- city: Field required\n" in result.text
        assert "- days: Input should be a valid integer" in result.text
        assert "(got 'many')" in result.text
        assert "- town: Extra inputs are not permitted" in result.text
        assert "- unit: Input should be 'C' or 'F'" in result.text

    async def test_of_many_wrong_arguments_ten_are_told(self, registry: ToolRegistry) -> None:
        result = await registry.call("weather", json.dumps({f"x{i}": i for i in range(50)}))
        assert result.text.count("\n- ") == 10
        assert "(and 41 more)" in result.text

    async def test_a_tools_own_error_is_told_word_by_word(self, registry: ToolRegistry) -> None:
        result = await registry.call("deny", '{"why": "because"}')
        assert (result.text, result.fault) == ("No: because", "failed")

    async def test_an_exception_is_told_by_name_and_logged(self, registry: ToolRegistry, caplog: pytest.LogCaptureFixture) -> None:
        result = await registry.call("broken", "")
        assert (result.text, result.fault) == ("broken failed: LookupError: the shelf is empty", "failed")
        assert "tool broken failed" in caplog.text

    async def test_a_tool_that_hangs_is_stopped(self, registry: ToolRegistry) -> None:
        result = await registry.call("slow", "")
        assert (result.text, result.fault) == ("slow did not finish within 0.05 s and was stopped.", "timed_out")

    async def test_the_caller_can_shorten_the_timeout_only(self, registry: ToolRegistry) -> None:
        assert (await registry.call("slow", "", seconds=-1)).fault == "timed_out"
        assert "within 0.05 s" in (await registry.call("slow", "", seconds=60)).text

    async def test_a_sync_tool_that_hangs_holds_up_nobody(self) -> None:
        release = threading.Event()
        registry = ToolRegistry([Tool(release.wait, name="hang", timeout=0.05)])
        assert (await registry.call("hang", "")).fault == "timed_out"
        release.set()
        await asyncio.sleep(0.05)  # its late result is ignored

    async def test_a_tool_that_swallows_its_cancellation_holds_up_nobody(self) -> None:
        release = asyncio.Event()

        async def stubborn() -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

        async with asyncio.timeout(5):
            result = await ToolRegistry([Tool(stubborn, timeout=0.05)]).call("stubborn", "")
        assert result.fault == "timed_out"
        release.set()

    async def test_a_tool_whose_own_work_was_cancelled_has_failed(self) -> None:
        async def cancelled() -> None:
            raise asyncio.CancelledError

        result = await ToolRegistry([Tool(cancelled)]).call("cancelled", "")
        assert (result.text, result.fault) == ("cancelled was cancelled before it finished.", "failed")

    @pytest.mark.parametrize("error", [SystemExit(1), StopIteration(), KeyboardInterrupt()])
    async def test_a_thread_that_ends_oddly_is_a_failed_call(self, error: BaseException) -> None:
        def odd() -> None:
            raise error

        assert (await ToolRegistry([Tool(odd)]).call("odd", "")).fault == "failed"

    async def test_cancelling_the_call_cancels_the_tool(self) -> None:
        seen: list[str] = []

        async def tool() -> None:
            try:
                await asyncio.sleep(30)
            finally:
                seen.append("stopped")

        call = asyncio.create_task(ToolRegistry([Tool(tool)]).call("tool", ""))
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0)
        assert seen == ["stopped"]

    async def test_a_result_that_is_no_json_is_a_failed_call(self) -> None:
        result = await ToolRegistry([Tool(lambda: ["\ud800"], name="odd")]).call("odd", "")
        assert result.fault == "failed"
        assert "surrogates not allowed" in result.text

    def test_a_thread_may_outlive_its_loop(self) -> None:
        release = threading.Event()
        threads: list[threading.Thread] = []

        def hang() -> None:
            threads.append(threading.current_thread())
            release.wait()

        asyncio.run(ToolRegistry([Tool(hang, timeout=0.05)]).call("hang", ""))
        release.set()
        threads[0].join(5)
        assert not threads[0].is_alive()


class TestTexts:
    @pytest.mark.parametrize("text", ["", "  ", "null", "{}", '"{}"', '"null"'])
    def test_nothing_means_no_arguments(self, text: str) -> None:
        assert parse_arguments(text) == {}

    def test_an_object_written_as_a_string_is_unwrapped(self) -> None:
        assert parse_arguments(json.dumps('{"a": 1}')) == {"a": 1}

    def test_results_are_text_or_json(self) -> None:
        @dataclass
        class Row:
            name: str
            value: float

        assert as_text("plain") == "plain"
        assert as_text("half a \ud800") == "half a ?"
        assert as_text(None) == "null"
        assert as_text([Row("é", float("nan")), Point(x=1)]) == '[{"name":"é","value":null},{"x":1.0,"y":0.0}]'
        assert as_text({"b": b"\xff"}) == '{"b":"_w=="}'

    def test_a_long_result_is_cut_and_says_so(self) -> None:
        assert as_text("x" * 20, limit=5) == "xxxxx… [cut here: 15 more characters]"
