"""Write one answer: fit the history into the window, call the route's chain, run the tool loop, and show every step."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from chat import uploads
from chat.generation import history, structured
from chat.generation.context_window import ContextFitter, as_json
from chat.generation.elicitation import PendingQuestion
from chat.services import Started, Status
from chat.streaming.generation_state import GenerationState
from webapp.accounts.models import User
from webapp.backends.runtime import learned, registry
from webapp.backends.runtime.rate_limits import Admission, admit
from webapp.core.database import DB_UNAVAILABLE, in_database
from webapp.patterns.agent import loop
from webapp.patterns.agent.interaction import Answer, Question
from webapp.patterns.agent.tools import ToolContext, ToolRegistry
from webapp.patterns.errors import CapabilityMissing
from webapp.patterns.fallback.chain import Chain
from webapp.patterns.types import Attempt, AttemptLog, Message, ModelInfo, Request, Response, StreamChunk, ToolCall
from webapp.ports import toolbox

logger = logging.getLogger("patchbay.chat")
OPTIONS = ("temperature", "top_p", "max_tokens", "presence_penalty", "frequency_penalty", "seed", "stop", "response_format")
CHANGE_BACKENDS = "backends.change_backend"
TOOLS = "tools"
PAUSED = "Not called for another "
"""The beginning of the reason of an attempt that a pause prevented (`patterns.fallback.execution`)."""
MAX_KEPT_REQUEST = 300_000
_ENDS = {
    "empty": "The model returned an empty answer.",
    "content_filter": "The backend's content filter stopped the answer.",
    "turns": "The model called tools too many times without giving an answer.",
    "seconds": "The answer took too long.",
    "tokens": "The answer reached its token limit.",
    "stuck": "The model kept making the same tool call.",
}


async def write(live: GenerationState, started: Started) -> None:
    """Write the answer of `started` into `live`. The result is in `live.outcome`, even if this raises."""
    job = await _Job.prepare(live, started)
    try:
        await job.run()
        await job.fitting.learn()
    finally:
        await job.note_pauses()
        live.outcome.report, live.outcome.summary = job.fitting.report, as_json(job.fitting.summary)
        job.note_trail()
        registry.record(job.trail, request_id=live.id, source="chat", user_id=started.conversation.user_id, route=started.model)
        await job.admission.settle(job.trail)


@dataclass(slots=True)
class _Job:
    live: GenerationState
    started: Started
    chain: Chain
    messages: list[Message]
    trail: AttemptLog
    fitting: ContextFitter
    admission: Admission
    tools: ToolRegistry

    @classmethod
    async def prepare(cls, live: GenerationState, started: Started) -> _Job:
        live.say("Preparing …")
        user, (messages, origins), tools = await in_database(_read, started)
        chain = await registry.resolve(started.model, user=user)
        fitting = ContextFitter(started.conversation, chain, origins, AttemptLog())
        job = cls(live, started, chain, messages, AttemptLog(), fitting, await admit(user.pk), tools)
        job.trail = job.fitting.trail = AttemptLog(job.show_attempt)
        return job

    async def run(self) -> None:
        options = self.started.conversation.options
        if schema := structured.schema_of(options):
            await structured.answer(self.live, self.chain, await self._request(ToolRegistry()), schema, self.trail)
            return
        tools = ToolRegistry() if self._lacks_tools() else self.tools
        try:
            await self._converse(tools)
        except CapabilityMissing as error:
            if not len(tools) or self.live.answer.parts:
                raise
            refused = {(a.backend, a.model) for a in self.trail.attempts if a.error == type(error).__name__}
            await self._converse(ToolRegistry())  # no step of the chain supports tools: ask without them
            await self._note_lack(refused, error)

    def _lacks_tools(self) -> bool:
        return all(learned.lacks(step.backend.name, step.model, TOOLS) for step in self.chain.steps)

    async def _note_lack(self, refused: set[tuple[str, str]], error: CapabilityMissing) -> None:
        """Remember a model that answered this question only without tools. Tools of other servers may be at fault themselves."""
        served = self.trail.served_by
        if served and (served.backend, served.model) in refused and not any(tool.external for tool in self.tools):
            await in_database(
                lambda: learned.record_lack(backend=served.backend, model=served.model, ability=TOOLS, why=error.detail or error.message)
            )

    async def _request(self, tools: ToolRegistry) -> Request:
        """Return the question, fitted into the window."""
        options = self.started.conversation.options
        fitted = await self.fitting.fit(self.messages, tools.schemas())
        return self._in_conversation(Request.chat(fitted, **{name: options.get(name) for name in OPTIONS}))

    def _in_conversation(self, request: Request) -> Request:
        """Return the request with the conversation as its session, so that a sticky route keeps it on one backend."""
        return replace(request, session=f"conversation:{self.started.conversation.pk}")

    async def _converse(self, tools: ToolRegistry) -> None:
        options = self.started.conversation.options
        request = self._in_conversation(Request.chat(self.messages, **{name: options.get(name) for name in OPTIONS}))

        async def fit(messages: list[Message]) -> list[Message]:
            return await self.fitting.fit(messages, tools.schemas())

        events = loop.run(
            _RestartNotifier(self.chain, self.live),
            request,
            tools,
            approve=self._approve,
            elicit=self._elicit,
            trail=self.trail,
            context=ToolContext(
                user_id=self.started.conversation.user_id, conversation_id=str(self.live.conversation_id), request_id=self.live.id
            ),
            fit=fit,
        )
        shown = _EventTranslator(self.live)
        async with aclosing(events):
            async for event in events:
                images = await self._stored_images(event) if isinstance(event, loop.ToolFinished) and event.images else []
                shown.event(event, images)
                if isinstance(event, loop.Finished):
                    self._ended(event.result)

    async def _stored_images(self, event: loop.ToolFinished) -> list[dict[str, Any]]:
        """Return the images of a tool as the answer keeps them; none where they cannot be stored: the result says what they were."""
        try:
            return await in_database(
                uploads.keep_tool_images, conversation=self.started.conversation, tool=event.call.name, images=event.images
            )
        except (uploads.Unusable, *DB_UNAVAILABLE) as error:
            logger.warning("The images of %s could not be stored: %s", event.call.name, error)
            return []

    async def _approve(self, call: ToolCall) -> bool:
        decision: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.live.approvals[call.id] = decision
        return await decision

    async def _elicit(self, call: ToolCall, question: Question) -> Answer:
        pending = PendingQuestion.of(question)
        self.live.questions[call.id] = pending
        return await pending.answer

    def _ended(self, result: loop.AgentResult) -> None:
        outcome = self.live.outcome
        outcome.finish_reason = result.finish_reason
        if result.reason in _ENDS:
            outcome.status, outcome.error = Status.FAILED, _ENDS[result.reason]

    def show_attempt(self, _attempt: Attempt) -> None:
        """Show below the answer which backend is being called, until the first word."""
        attempts = self.trail.attempts
        if self.trail.waiting:
            self.live.say(f"{self.trail.waiting} …")
            return
        waiting = next((a for a in reversed(attempts) if a.outcome == "running" and a.first_token_ms is None), None)
        failed = sum(a.outcome in {"failed", "skipped"} for a in attempts)
        before = f" ({failed} tried before)" if failed else ""
        self.live.say(f"Asking {waiting.backend} · {waiting.model}{before} …" if waiting else "")

    async def note_pauses(self) -> None:
        """Note the backends that were not called because they are paused, for a reader who may have them called at once."""
        paused = [a.backend for a in self.trail.attempts if a.outcome == "skipped" and a.why.startswith(PAUSED)]
        if paused and self.trail.served_by is None:
            user = await in_database(User.objects.get, pk=self.started.conversation.user_id)
            if await in_database(user.has_perm, CHANGE_BACKENDS):
                self.fitting.report["paused"] = list(dict.fromkeys(paused))

    def note_trail(self) -> None:
        """Store the attempts with the answer, and their request bodies separately."""
        outcome = self.live.outcome
        for place, attempt in enumerate(self.trail.attempts):
            kept = attempt.request is not None and len(str(attempt.request)) <= MAX_KEPT_REQUEST
            if kept and attempt.request is not None:
                outcome.requests[place] = (attempt.base_url, dict(attempt.request))
            outcome.trail.append(_attempt(attempt, kept=kept))


def _read(started: Started) -> tuple[User, tuple[list[Message], list[UUID | None]], ToolRegistry]:
    """Return the user, the messages with their stored ones, and the tools of an answer, in one visit to the database thread."""
    conversation = started.conversation
    user = User.objects.get(pk=conversation.user_id)
    told = history.load(conversation, started.answer, started.question)
    return user, told, toolbox.chosen(user, started.model, conversation.options.get("tools"))


def _attempt(attempt: Attempt, *, kept: bool) -> dict[str, Any]:
    data = asdict(attempt)
    usage = data.pop("usage")
    data.pop("base_url")
    data.pop("detail")  # for the attempt log, which administrators read
    cost = data.pop("cost")
    return {
        **data,
        "request": kept,
        "cost": float(cost) if cost is not None else None,
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
    }


class _RestartNotifier:
    """Wrap a chain and tell the page when it restarts an answer."""

    def __init__(self, chain: Chain, live: GenerationState) -> None:
        self.name = chain.name
        self._chain, self._live = chain, live

    async def stream(self, request: Request, *, trail: AttemptLog | None = None) -> AsyncGenerator[StreamChunk, None]:
        async with aclosing(self._chain.stream(request, trail=trail)) as packets:
            async for packet in packets:
                if packet.switch == "restart":
                    self._live.apply({"k": "restart"})
                yield packet

    async def send(self, request: Request, *, trail: AttemptLog | None = None) -> Response:
        return await self._chain.send(request, trail=trail)

    async def models(self) -> list[ModelInfo]:
        return await self._chain.models()

    async def aclose(self) -> None:
        await self._chain.aclose()


class _EventTranslator:
    """Translate the loop's events into the answer's."""

    def __init__(self, live: GenerationState) -> None:
        self._live = live
        self._open: set[str] = set()
        self._said: list[str] = []
        """Reasoning and text of this turn: a closing tag may say that all of it was reasoning."""

    def event(self, event: loop.Event, images: Sequence[dict[str, Any]] = ()) -> None:
        """Apply an event of the loop.

        Args:
            images: those of a tool that has finished, as they are stored.
        """
        if isinstance(event, loop.Text):
            self._text(event)
        elif isinstance(event, loop.ApprovalAsked):
            self._begin(event.call)
            self._live.apply({"k": "ask", "id": event.call.id, "reason": event.reason})
        elif isinstance(event, loop.ToolStarted):
            self._begin(event.call)
            self._live.apply({"k": "run", "id": event.call.id})
        elif isinstance(event, loop.ToolProgressed):
            progress = {"done": event.done, "total": event.total, "message": event.message}
            self._live.apply({"k": "progress", "id": event.call.id, **progress})
        elif isinstance(event, loop.InputAsked):
            self._live.apply({"k": "input", "id": event.call.id, "question": asdict(event.question)})
        elif isinstance(event, loop.InputGiven):
            self._live.apply({"k": "run", "id": event.call.id})
        elif isinstance(event, loop.ToolFinished):
            self._begin(event.call)
            self._open.discard(event.call.id)
            result = {"result": event.result, "error": event.error, "ms": round(event.ms)}
            self._live.apply({"k": "result", "id": event.call.id, **result, **({"images": list(images)} if images else {})})
        elif isinstance(event, loop.TurnFinished):
            self._said.clear()
            self._live.apply({"k": "turn", "at": time.time()})

    def _text(self, event: loop.Text) -> None:
        for delta in event.deltas:
            if delta.choice:
                continue
            if delta.was_reasoning and self._said:
                self._live.apply({"k": "restart"})
                self._live.apply({"k": "reasoning", "d": "".join(self._said), "at": time.time()})
            if delta.reasoning:
                self._live.apply({"k": "reasoning", "d": delta.reasoning, "at": time.time()})
            if delta.text or delta.refusal:
                self._live.apply({"k": "text", "d": delta.text or delta.refusal, "at": time.time()})
            self._said += [delta.reasoning, delta.text]

    def _begin(self, call: ToolCall) -> None:
        if call.id not in self._open:
            self._open.add(call.id)
            self._live.apply({"k": "call", "id": call.id, "name": call.name, "arguments": call.arguments, "at": time.time()})
