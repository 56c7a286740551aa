"""Run the multi-turn tool loop: ask the model, run the tools it calls, ask again, until it answers or a limit is reached.

    async with aclosing(agent.run(backend, request, registry)) as events:
        async for event in events: ...

Each step is an event, so that a page can show it. The last one is `Finished`. However the loop ends, its messages are a conversation that
any server accepts: every tool call has its reply, right after it. Closing the generator closes the upstream and cancels the tools.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from webapp.patterns.agent.approval import ApprovalRules
from webapp.patterns.agent.deadline import Deadline, OutOfTimeError
from webapp.patterns.agent.events import (
    AgentResult,
    ApprovalAsked,
    Event,
    Finished,
    InputAsked,
    InputGiven,
    Limits,
    Reason,
    Text,
    ToolFinished,
    ToolProgressed,
    ToolStarted,
    TurnFinished,
)
from webapp.patterns.agent.interaction import Answer, Ask, Question, Report
from webapp.patterns.agent.tool_images import (
    images_message,
    is_about_images,
    is_images_message,
    with_newest_images,
    without_images,
)
from webapp.patterns.agent.tools import ToolContext, ToolRegistry, ToolResult, parse_arguments
from webapp.patterns.backend import Backend
from webapp.patterns.context.history_repair import repair, reply, with_valid_calls
from webapp.patterns.errors import PatternError
from webapp.patterns.streaming import Accumulator
from webapp.patterns.types import AttemptLog, Message, Request, StreamChunk, ToolCall, Usage

__all__ = [
    "AgentResult",
    "ApprovalAsked",
    "Event",
    "Finished",
    "InputAsked",
    "InputGiven",
    "Limits",
    "Reason",
    "Text",
    "ToolFinished",
    "ToolProgressed",
    "ToolStarted",
    "TurnFinished",
    "complete",
    "repair",
    "run",
]  # fmt: skip

logger = logging.getLogger("patchbay.agent")

Approve = Callable[[ToolCall], Awaitable[bool]]
Elicit = Callable[[ToolCall, Question], Awaitable[Answer]]
Fit = Callable[[list[Message]], Awaitable[list[Message]]]

DECLINED = "The user declined this call. Do not make it again unless the user asks for it."
UNDECIDED = "This call needs approval, and nobody gave it. Do not make it again unless the user asks for it."
UNRUN: dict[str, str] = {
    "length": "[This call was not run: the answer was cut off inside it (finish_reason: length).]",
    "content_filter": "[This call was not run: the content filter ended the answer.]",
    "turns": "[This call was not run: the limit of turns was reached.]",
    "tokens": "[This call was not run: the limit of tokens was reached.]",
}
PROGRESS_SECONDS = 0.2
"""A call's progress is shown this often at most, so that a server that floods with it cannot flood the page."""
CHARS_A_TOKEN = 4
"""A rough estimate, used only for the token limit, and only if a backend reports no usage."""


async def run(
    backend: Backend,
    request: Request,
    tools: ToolRegistry,
    *,
    limits: Limits | None = None,
    approve: Approve | None = None,
    elicit: Elicit | None = None,
    trail: AttemptLog | None = None,
    context: ToolContext | None = None,
    fit: Fit | None = None,
) -> AsyncGenerator[Event, None]:
    """Hold the conversation of `request` until the model answers without calling a tool, or a limit is reached.

    Args:
        tools: the ones on offer, no others are run; give `registry.only(names)` where a user may not use all.
        approve: asked before a tool that acts, before one that is not read-only once content from outside was read, and before a
            call that would send a secret away; without it such calls are declined.
        elicit: asked when a running tool has a question to the user; without it the question is declined.
        fit: makes the conversation fit the window, before each turn.

    Raises:
        BackendError, ChainError: the backend failed; the turns before it were whole, as their `TurnFinished` said.
    """
    loop = _Loop(backend, request, tools, limits or Limits(), approve, elicit, trail or AttemptLog(), context or ToolContext(), fit)
    with loop.deadline:
        while not loop.reason:
            async with aclosing(loop.turn()) as events:
                async for event in events:
                    yield event
    yield Finished(loop.result())


async def complete(backend: Backend, request: Request, tools: ToolRegistry, **options: Any) -> AgentResult:
    """Run the loop and return only the final result."""
    async with aclosing(run(backend, request, tools, **options)) as events:
        async for event in events:
            last = event
    assert isinstance(last, Finished)
    return last.result


@dataclass(slots=True)
class _Loop:
    """The state of one run."""

    backend: Backend
    request: Request
    tools: ToolRegistry
    limits: Limits
    approve: Approve | None
    elicit: Elicit | None
    trail: AttemptLog
    context: ToolContext
    fit: Fit | None
    deadline: Deadline = field(init=False)
    parallel: asyncio.Semaphore = field(init=False)
    reason: Reason | None = None
    turns: int = 0
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = ""
    text: str = ""
    history: list[Message] = field(init=False)
    messages: list[Message] = field(default_factory=list)
    seen: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    rules: ApprovalRules = field(default_factory=ApprovalRules)
    shows_images: bool = True
    """Whether the model is shown the images that tools return."""

    def __post_init__(self) -> None:
        self.deadline = Deadline(self.limits.max_seconds)
        self.parallel = asyncio.Semaphore(self.limits.max_parallel)
        self.history = repair(self.request.messages)
        for name in _called_names(self.history):
            self.rules.note_result(self.tools.get(name))
        if len(self.tools):
            self.request = self.request.with_options(tools=self.tools.schemas())

    async def turn(self) -> AsyncGenerator[Event, None]:
        """Run one answer of the model, and the tools it calls."""
        self.turns += 1
        said = Accumulator()
        async with aclosing(self._listen(said)) as texts:
            async for text in texts:
                yield text
        calls = said.tool_calls
        self._note(said)
        replies: list[Message] = []
        if calls and self.reason in UNRUN:
            replies = [reply(call.id, UNRUN[self.reason]) for call in calls]
        elif calls and not self.reason:
            async with aclosing(self._run_calls(calls, replies)) as events:
                async for event in events:
                    yield event
        message = self._message(said, calls=bool(replies))
        self.messages += [message, *replies]
        yield TurnFinished(self.turns, message, tuple(replies), self.finish_reason, said.usage)

    def result(self) -> AgentResult:
        assert self.reason
        return AgentResult(self.reason, self.text, self.messages, self.finish_reason, self.turns, self.usage, self.trail)

    async def _listen(self, said: Accumulator) -> AsyncGenerator[Text, None]:
        try:
            async with aclosing(self._packets()) as packets:
                async for packet in packets:
                    said.add_packet(packet)
                    yield Text(packet.deltas, packet.switch)
                    self.deadline.check()
        except OutOfTimeError:
            self.reason = "seconds"

    async def _packets(self) -> AsyncGenerator[StreamChunk, None]:
        """Ask the model; where no backend takes images, once more without those of the tools."""
        while True:
            begun = False
            try:
                self.deadline.check()
                stream = self.backend.stream(self.request.with_messages(await self._conversation()), trail=self.trail)
                async with aclosing(stream):
                    while packet := await self.deadline.wait(anext(stream, None)):
                        begun = True
                        yield packet
            except PatternError as error:
                told = self.shows_images and any(map(is_images_message, [*self.history, *self.messages]))
                if begun or not told or not is_about_images(error):
                    raise
                self.shows_images = False
            else:
                return

    async def _conversation(self) -> list[Message]:
        """Return the messages to send."""
        conversation = [*self.history, *self.messages]
        conversation = with_newest_images(conversation) if self.shows_images else without_images(conversation)
        return await self.deadline.wait(self.fit(conversation)) if self.fit else conversation

    def _note(self, said: Accumulator) -> None:
        """Record the result of a turn; return whether the loop ends with it."""
        self.text, self.finish_reason = said.text, said.finish_reason
        self.usage += said.usage or Usage()
        if not self.reason:
            self.reason = self._end(said)

    def _end(self, said: Accumulator) -> Reason | None:
        # finish_reason is trusted about truncation, but never about the presence of calls.
        match said.finish_reason:
            case "length":
                return "length"
            case "content_filter":
                return "content_filter"
        if said.tool_calls:
            return self._limit(said)
        if said.refusal:
            return "refused"
        return "answered" if said.text else "empty"

    def _limit(self, said: Accumulator) -> Reason | None:
        if self.turns >= self.limits.max_turns:
            return "turns"
        if self.limits.max_tokens is not None and self._tokens(said) >= self.limits.max_tokens:
            return "tokens"
        return None

    def _tokens(self, said: Accumulator) -> int:
        if said.usage is None:
            read = sum(len(str(message.get("content") or "")) for message in [*self.history, *self.messages])
            wrote = len(said.text) + sum(len(call.arguments) for call in said.tool_calls)
            self.usage += Usage(read // CHARS_A_TOKEN, wrote // CHARS_A_TOKEN)
        return self.usage.total_tokens

    def _message(self, said: Accumulator, *, calls: bool) -> Message:
        """Return the assistant's message without calls that have no reply (those of an answer that ran out of time)."""
        message = said.message()
        if not calls and message.pop("tool_calls", None):
            message["content"] = said.text  # null only stands beside calls
        return with_valid_calls(message) if "tool_calls" in message else message

    async def _run_calls(self, calls: Sequence[ToolCall], replies: list[Message]) -> AsyncGenerator[Event, None]:
        """Run the calls in parallel; yield events as they come, and fill `replies` in the calls' order."""
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        results = asyncio.gather(*(self._run_call(call, position, events.put_nowait) for position, call in enumerate(calls)))
        results.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while event := await events.get():
                yield event
        finally:
            results.cancel()
        found = await results
        replies += [reply(call.id, self._with_warning(call, result.text)) for call, result in zip(calls, found, strict=True)]
        if shown := images_message(image.url for result in found for image in result.images):
            replies.append(shown)
        if self.deadline.left <= 0:
            self.reason = "seconds"

    async def _run_call(self, call: ToolCall, position: int, emit: Callable[[Event], None]) -> ToolResult:
        started = asyncio.get_running_loop().time()
        if position >= self.limits.max_calls:
            result = ToolResult(f"[This call was not run: at most {self.limits.max_calls} run in one turn.]", "not_run")
        else:
            async with self.parallel:
                declined = await self._declined(call, emit)
                started = asyncio.get_running_loop().time()
                result = declined or await self._called(call, emit)
        ms = (asyncio.get_running_loop().time() - started) * 1000
        emit(ToolFinished(call, result.text, result.fault, ms, result.images))
        return result

    async def _called(self, call: ToolCall, emit: Callable[[Event], None]) -> ToolResult:
        emit(ToolStarted(call))
        context = replace(self.context, report=_reporter(call, emit), ask=self._asker(call, emit))
        result = await self.tools.call(call.name, call.arguments, context, seconds=self.deadline.left)
        self.rules.note_result(self.tools.get(call.name))
        return result

    def _asker(self, call: ToolCall, emit: Callable[[Event], None]) -> Ask | None:
        """Return what a tool asks the user with: by the hook, shown as events."""
        elicit = self.elicit
        if not elicit:
            return None

        async def ask(question: Question) -> Answer:
            emit(InputAsked(call, question))
            answer = await elicit(call, question)
            emit(InputGiven(call, answer))
            return answer

        return ask

    async def _declined(self, call: ToolCall, emit: Callable[[Event], None]) -> ToolResult | None:
        """Return None if the call may run, otherwise the text for the model."""
        tool = self.tools.get(call.name)
        reason = self.rules.reason(tool, call.arguments) if tool else None
        if reason is None:
            return None
        if not self.approve:
            return ToolResult(UNDECIDED, "declined")
        emit(ApprovalAsked(call, reason))
        try:
            async with asyncio.timeout(self.deadline.left):
                return None if await self.approve(call) else ToolResult(DECLINED, "declined")
        except TimeoutError:
            return ToolResult(UNDECIDED, "declined")
        except Exception as error:  # the caller's code failed; without approval the tool does not run
            logger.warning("the approval hook failed", exc_info=error)
            return ToolResult(UNDECIDED, "declined")

    def _with_warning(self, call: ToolCall, result: str) -> str:
        """Return the result, with a warning if the model repeats itself; end the loop if it continues."""
        key = (call.name, _canonical(call.arguments), result)
        self.seen[key] += 1
        times = self.seen[key]
        if times >= self.limits.max_repeats:
            self.reason = "stuck"
        if times == 1:
            return result
        return f"{result}\n\n[You have made this same call {times} times, with this same result. Do something else, or answer.]"


def _reporter(call: ToolCall, emit: Callable[[Event], None]) -> Report:
    """Return what a tool reports its progress with, at most every `PROGRESS_SECONDS`."""
    last = -PROGRESS_SECONDS

    async def report(done: float, total: float | None, message: str) -> None:
        nonlocal last
        now = asyncio.get_running_loop().time()
        if now - last >= PROGRESS_SECONDS or (total is not None and done >= total):
            last = now
            emit(ToolProgressed(call, done, total, message))

    return report


def _called_names(messages: Sequence[Message]) -> Iterator[str]:
    """Yield the names of the tools that a conversation called."""
    for message in messages:
        for call in message.get("tool_calls") or ():
            yield str(call.get("function", {}).get("name", ""))


def _canonical(arguments: str) -> str:
    parsed = parse_arguments(arguments)
    return json.dumps(parsed, sort_keys=True)
