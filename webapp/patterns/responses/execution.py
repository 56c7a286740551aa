"""One response from its request to its last event: the turns of the model, and the tools that the server runs between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from webapp.patterns import errors
from webapp.patterns.agent.approval import ApprovalRules
from webapp.patterns.backend import Backend
from webapp.patterns.openai.decoder import read_usage as read_chat_usage
from webapp.patterns.responses import native, server_tools
from webapp.patterns.responses.content import text_of
from webapp.patterns.responses.encoder import EventEncoder
from webapp.patterns.responses.objects import Status, error_json
from webapp.patterns.responses.request import PROTOCOL, ResponsesRequest, to_request
from webapp.patterns.responses.server_tools import ServerTools
from webapp.patterns.responses.snapshot import events_in
from webapp.patterns.responses.tools import ToolSet
from webapp.patterns.streaming import Accumulator
from webapp.patterns.types import AttemptLog, Delta, Json, Message, Request, Response, StreamChunk, ToolCall, ToolCallDelta

MAX_TURNS: Final = 24
"""Turns of the model in one response; the tools of the last one are not run."""
SWITCHED: Final = b": another backend goes on (%b)\n\n"
"""A comment, which clients pass over: the protocol has no word for a route that restarts or continues an answer on its next step."""
NOT_RUN: Final = "[This call was not run: the limit of tool calls was reached. Answer with what you know.]"


class Execution:
    """Runs one response over a backend or chain.

    Args:
        backend: answers; its fallback happens before the first event.
        asked: the request.
        response: the response object, kept up to date.
        server: runs the server's tools; None where there are none.
        trail: takes the attempts.
        encoder: of a response that was queued, or that goes on after a restart; else a fresh one.
        announced: the client has had `response.created` already.
    """

    def __init__(
        self,
        backend: Backend,
        asked: ResponsesRequest,
        *,
        response: Json,
        server: ServerTools | None = None,
        trail: AttemptLog | None = None,
        encoder: EventEncoder | None = None,
        announced: bool = False,
    ) -> None:
        self._backend = backend
        self._asked = asked
        self._server = server
        self._trail = trail if trail is not None else AttemptLog()
        self.response = response
        self.tools = ToolSet.of(asked.body.get("tools"))
        self.encoder = encoder or EventEncoder(response, self.tools, summaries=asked.wants_summary)
        self.encoder.use_tools(self.tools)
        self._announced = announced
        self._begun = False
        self._listings: list[Json] = []
        self._rules = ApprovalRules()
        self._relay: native.Relay | None = None
        self._calls_left: int | None = asked.body.get("max_tool_calls")
        self._wants_logprobs = "message.output_text.logprobs" in asked.includes or bool(asked.body.get("top_logprobs"))

    async def request(self) -> Request:
        """Return the first request for the backend; the tool servers are asked for their tools.

        Raises:
            InputError: an item cannot be read.
        """
        if self._server is not None and self.tools.servers:
            self._listings = await server_tools.list_servers(self.tools, self._server, self._asked.items)
            self._rules = server_tools.rules_for(self._asked.items, self.tools)
        return to_request(self._asked, self.tools)

    async def stream(self, request: Request | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the events, the first ones with the first content of a backend.

        Args:
            request: in place of `request()`, for a response that goes on after a restart.

        Raises:
            PatternError: no backend answered; nothing was yielded. Later failures are events.
        """
        try:
            async with aclosing(self._turns(request or await self.request())) as turns:
                async for events in turns:
                    yield events
        except errors.PatternError as error:
            if not self._begun:
                raise
            yield self.failed(error)

    async def send(self) -> Json:
        """Return the whole response.

        Raises:
            PatternError: no backend answered, or the request is at fault.
        """
        request = await self.request()
        self._begin()
        request, _ = await self._run_approved(request)
        for turn in range(MAX_TURNS):
            answer = await self._backend.send(request, trail=self._trail)
            if answer.protocol == PROTOCOL:
                native.adopt(self.response, answer.body)
                return self.response
            deltas = deltas_of(answer)
            said = Accumulator()
            said.add_packet(StreamChunk(b"", deltas))
            self.encoder.add(deltas)
            self.encoder.add_logprobs(logprobs_in(answer.body))
            self.encoder.end_turn()
            replies: list[Message] = []
            async with aclosing(self._run_calls(replies, last=turn == MAX_TURNS - 1)) as calls:
                async for _ in calls:
                    pass
            if not _goes_on(said, replies):
                break
            request = _next_request(request, said, replies)
        self.encoder.finish()
        return self.response

    def failed(self, error: Exception) -> bytes:
        """End the response with `response.failed`."""
        return self._handed_over().fail(error_json(error))

    def interrupted(self, reason: str, status: Status = "incomplete") -> bytes:
        """End the response before its end: incomplete, or cancelled."""
        return self._handed_over().interrupt(reason, status)

    # --- turns

    async def _turns(self, request: Request) -> AsyncGenerator[bytes, None]:
        if self._approved:
            yield self._begin()
            request, events = await self._run_approved(request)
            yield events
        for turn in range(MAX_TURNS):
            said = Accumulator()
            async with aclosing(self._backend.stream(request, trail=self._trail)) as packets:
                async for packet in packets:
                    said.add_packet(packet)
                    if events := self._take(packet):
                        yield events
            if self._relay is not None:
                yield self._relay.close()
                return
            yield self.encoder.end_turn()
            replies: list[Message] = []
            async with aclosing(self._run_calls(replies, last=turn == MAX_TURNS - 1)) as calls:
                async for events in calls:
                    yield events
            if not _goes_on(said, replies):
                break
            request = _next_request(request, said, replies)
        yield self.encoder.finish()

    def _take(self, packet: StreamChunk) -> bytes:
        """Return the events for a packet: passed on where they are a server's own, else made from what it means."""
        if packet.switch:
            note = SWITCHED % packet.switch.encode()
            encoder = self._handed_over()
            if packet.switch == "restart":
                encoder.restart()
            return note + encoder.taken()
        if packet.protocol == PROTOCOL:
            if self._relay is None:
                self._relay = native.Relay(self.encoder, announced=self._announced or self._begun)
                self._begun = True
            return self._relay.take(packet)
        head = self._begin()
        encoder = self._handed_over()
        events = encoder.add(packet.deltas)
        if self._wants_logprobs and packet.raw:
            for chunk in events_in(packet.raw):
                encoder.add_logprobs(logprobs_in(chunk))
        return head + events if head else events

    def _begin(self) -> bytes:
        """Return the first events, once: the response, and what its tool servers offer."""
        if self._begun:
            return b""
        self._begun = True
        start = self.encoder.resume() if self._announced else self.encoder.start()
        return start + b"".join(server_tools.show_listing(self.encoder, item) for item in self._listings)

    def _handed_over(self) -> EventEncoder:
        """Return the encoder; where a native server spoke last, with what it said."""
        if self._relay is not None:
            self._relay.hand_over()
            self._relay = None
        return self.encoder

    # --- tools that the server runs

    async def _run_calls(self, replies: list[Message], *, last: bool) -> AsyncGenerator[bytes, None]:
        """Run the calls of the turn that are the server's. Yield the events, and add the messages for the model to `replies`."""
        for call in self.encoder.take_server_calls():
            tool = self.tools.called(call.name)
            if self._server is None or last or self._calls_left == 0:
                replies.append({"role": "tool", "tool_call_id": call.id, "content": NOT_RUN})
                continue
            entry = server_tools.entry_for(self.tools, tool.server)
            reason = server_tools.approval_reason(entry, tool, call.arguments, self._rules) if entry is not None else None
            if reason:
                yield server_tools.ask_approval(self.encoder, tool, call.arguments, reason)
                continue
            if self._calls_left is not None:
                self._calls_left -= 1
            if tool.kind == "mcp":
                outcome = await server_tools.run_mcp(self.encoder, self.tools, self._server, call)
                self._rules.note_result(tool.listed)
            else:
                shows = "file_search_call.results" in self._asked.includes
                search = server_tools.FileSearchCall(self.encoder, self.tools.file_search or {}, call, show_results=shows)
                yield search.begin()
                outcome = await search.run(self._server)
                self._rules.read_untrusted = True
            replies.append(outcome.reply)
            yield outcome.events

    @property
    def _approved(self) -> list[Json]:
        """Return the approval requests that the caller just approved."""
        return server_tools.approved_requests(self._asked.items) if self._server is not None else []

    async def _run_approved(self, request: Request) -> tuple[Request, bytes]:
        """Run the calls that the caller approved; the request with their results, and the events."""
        messages: list[Message] = []
        events: list[bytes] = []
        for asked in self._approved:
            assert self._server is not None
            call = ToolCall(asked["id"], self.tools.chat_name(asked), str(asked.get("arguments") or ""))
            outcome = await server_tools.run_mcp(self.encoder, self.tools, self._server, call, approval=asked["id"])
            self._rules.note_result(self.tools.called(call.name).listed)
            messages += [{"role": "assistant", "content": None, "tool_calls": [call.as_message_part()]}, outcome.reply]
            events.append(outcome.events)
        if messages:
            request = request.with_messages([*request.messages, *messages])
        return request, b"".join(events)


def _goes_on(said: Accumulator, replies: Sequence[Message]) -> bool:
    """Return whether the model is to be asked again: where the server answered all its calls. The caller answers its own."""
    return bool(replies) and len(replies) == len(said.tool_calls)


def _next_request(request: Request, said: Accumulator, replies: Sequence[Message]) -> Request:
    """Return the request of the next turn. A forced tool has been called, so the model may now answer."""
    if isinstance(request.body.get("tool_choice"), dict) or request.body.get("tool_choice") == "required":
        request = request.with_options(tool_choice=None)
    return request.with_messages([*request.messages, said.message(), *replies])


def logprobs_in(body: Json) -> list[Json]:
    """Return the log probabilities in the first choice of a chat completion or of one of its chunks."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    logprobs = choice.get("logprobs") if isinstance(choice, dict) else None
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return [entry for entry in content if isinstance(entry, dict)] if isinstance(content, list) else []


def deltas_of(answer: Response) -> tuple[Delta, ...]:
    """Return a whole chat completion as one delta."""
    choice = answer.body["choices"][0]
    message = choice.get("message") or {}
    calls = tuple(_call_delta(number, call) for number, call in enumerate(message.get("tool_calls") or ()))
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    delta = Delta(
        text=text_of(message.get("content")),
        reasoning=reasoning if isinstance(reasoning, str) else text_of(reasoning),
        refusal=str(message.get("refusal") or ""),
        tool_calls=calls,
        finish_reason=str(choice.get("finish_reason") or ""),
        usage=read_chat_usage(answer.body),
    )
    return (delta,)


def _call_delta(number: int, call: Json) -> ToolCallDelta:
    function = call.get("function") or {}
    return ToolCallDelta(number, str(call.get("id") or ""), str(function.get("name") or ""), str(function.get("arguments") or ""))
