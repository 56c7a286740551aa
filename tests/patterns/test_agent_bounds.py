"""The tool loop: time, Stop, and approval."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from tests.patterns.scripted import QUESTION, Scripted, call, calls, events_of, result_of, says
from webapp.patterns.agent import loop
from webapp.patterns.agent.loop import ApprovalAsked, Finished, Limits, ToolFinished, ToolStarted
from webapp.patterns.agent.tools import ToolRegistry
from webapp.patterns.types import AttemptLog, Delta, Message, Request, StreamChunk, ToolCall


class TestTime:
    async def test_a_model_that_stalls_is_given_up_and_its_text_kept(self, tools: ToolRegistry) -> None:
        backend = Scripted([Delta(text="Hal"), call("look"), 30.0])
        started = time.monotonic()
        result = await result_of(backend, tools, limits=Limits(max_seconds=0.05))
        assert time.monotonic() - started < 5
        assert (result.reason, result.messages) == ("seconds", [{"role": "assistant", "content": "Hal"}])
        assert backend.closed == 1

    async def test_a_model_that_stalls_inside_a_call_has_said_nothing(self, tools: ToolRegistry) -> None:
        """Servers refuse a message whose content is null and that calls nothing."""
        result = await result_of(Scripted([call("look"), 30.0]), tools, limits=Limits(max_seconds=0.02))
        assert (result.reason, result.messages) == ("seconds", [{"role": "assistant", "content": ""}])

    async def test_a_model_that_never_ends_is_given_up(self, tools: ToolRegistry) -> None:
        class Endless(Scripted):
            async def stream(self, request: Request, *, trail: AttemptLog | None = None) -> AsyncGenerator[StreamChunk, None]:
                while True:
                    yield StreamChunk(b"", (Delta(text="x"),))
                    await asyncio.sleep(0)

        result = await result_of(Endless(), tools, limits=Limits(max_seconds=0.05))
        assert result.reason == "seconds"

    async def test_time_that_the_reader_of_events_takes_counts_too(self, tools: ToolRegistry) -> None:
        events = loop.run(Scripted(says("Hello")), Request.chat(QUESTION), tools, limits=Limits(max_seconds=0.02))
        await anext(events)
        await asyncio.sleep(0.04)
        rest = [event async for event in events]
        assert isinstance(rest[-1], Finished)
        assert rest[-1].result.reason == "seconds"

    async def test_a_tool_that_hangs_ends_with_the_loops_time(self, tools: ToolRegistry, log: list[str]) -> None:
        result = await result_of(Scripted(calls("hang"), says("ok")), tools, limits=Limits(max_seconds=0.05))
        assert (result.reason, result.turns, log) == ("seconds", 1, ["hang stopped"])
        assert "did not finish" in result.messages[-1]["content"]

    async def test_fitting_that_takes_too_long_ends_it_too(self, tools: ToolRegistry) -> None:
        async def fit(messages: list[Message]) -> list[Message]:
            await asyncio.sleep(30)
            return messages

        result = await result_of(Scripted(says("ok")), tools, fit=fit, limits=Limits(max_seconds=0.02))
        assert (result.reason, result.messages) == ("seconds", [{"role": "assistant", "content": ""}])

    async def test_somebody_elses_cancellation_at_the_same_moment_is_theirs(self, tools: ToolRegistry) -> None:
        task = asyncio.create_task(result_of(Scripted([30.0]), tools, limits=Limits(max_seconds=0.02)))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.02, task.cancel)
        time.sleep(0.03)  # noqa: ASYNC251 - both timers must be due in one turn of the loop
        with pytest.raises(asyncio.CancelledError):
            await task


class TestStop:
    """FAULTS 27: Stop mid-text or inside a tool call: the upstream is closed, the tools are cancelled."""

    async def test_closing_the_events_closes_the_upstream(self, tools: ToolRegistry) -> None:
        backend = Scripted([Delta(text="a"), Delta(text="b"), 30.0])
        events = loop.run(backend, Request.chat(QUESTION), tools)
        await anext(events)
        await events.aclose()
        assert backend.closed == 1

    async def test_cancelling_the_task_closes_the_upstream(self, tools: ToolRegistry) -> None:
        backend = Scripted([Delta(text="a"), 30.0])
        task = asyncio.create_task(result_of(backend, tools))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert backend.closed == 1

    @pytest.mark.parametrize("how", ["close", "cancel"])
    async def test_stopping_inside_a_tool_cancels_it(self, tools: ToolRegistry, log: list[str], how: str) -> None:
        events = loop.run(Scripted(calls("hang")), Request.chat(QUESTION), tools)

        async def until_the_tool_runs() -> None:
            async for event in events:
                if isinstance(event, ToolStarted):
                    await asyncio.sleep(0.01)
                    if how == "close":
                        return

        task = asyncio.create_task(until_the_tool_runs())
        await asyncio.sleep(0.03)
        task.cancel()
        await asyncio.wait({task})
        await events.aclose()
        await asyncio.sleep(0.01)
        assert log == ["hang stopped"]


class TestApproval:
    @pytest.fixture
    def backend(self) -> Scripted:
        return Scripted(calls("delete", "look"), says("ok"))

    async def test_a_tool_that_acts_runs_when_approved(self, backend: Scripted, tools: ToolRegistry, log: list[str]) -> None:
        asked: list[ToolCall] = []

        async def approve(call: ToolCall) -> bool:
            asked.append(call)
            await asyncio.sleep(0.01)
            return True

        events = await events_of(backend, tools, approve=approve)
        assert asked == [ToolCall("call_0", "delete", "{}")]
        assert ApprovalAsked(asked[0]) in events
        assert log == ["look", "delete"]

    async def failing(self, call: ToolCall) -> bool:
        raise LookupError("no page is open")

    async def declining(self, call: ToolCall) -> bool:
        return False

    async def waiting(self, call: ToolCall) -> bool:
        await asyncio.sleep(30)
        return True

    @pytest.mark.parametrize(
        ("hook", "told"), [(None, "nobody gave it"), ("declining", "The user declined"), ("failing", "nobody gave it")]
    )
    async def test_without_a_yes_it_does_not_run(
        self, backend: Scripted, tools: ToolRegistry, log: list[str], hook: str | None, told: str
    ) -> None:
        approve: Callable[[ToolCall], Awaitable[bool]] | None = getattr(self, hook) if hook else None
        events = await events_of(backend, tools, approve=approve)
        declined = next(event for event in events if isinstance(event, ToolFinished) and event.call.name == "delete")
        assert declined.error == "declined"
        assert told in declined.result
        assert log == ["look"]

    async def test_nobody_deciding_is_a_no_when_the_time_is_over(self, backend: Scripted, tools: ToolRegistry, log: list[str]) -> None:
        result = await result_of(backend, tools, approve=self.waiting, limits=Limits(max_seconds=0.03))
        assert result.reason == "seconds"
        assert "nobody gave it" in result.messages[1]["content"]
        assert log == ["look"]
