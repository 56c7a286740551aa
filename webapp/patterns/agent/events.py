"""Define the events, limits, and result of the tool loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from webapp.patterns.agent.approval import ApprovalReason
from webapp.patterns.agent.interaction import Answer, Question
from webapp.patterns.agent.tools import Fault
from webapp.patterns.images import Image
from webapp.patterns.types import AttemptLog, Delta, Message, ToolCall, Usage

Reason = Literal["answered", "refused", "empty", "length", "content_filter", "turns", "seconds", "tokens", "stuck"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a loop.

    Args:
        max_turns: answers of the model. Tools called in the last one are not run.
        max_seconds: wall clock over everything: waiting, streaming, tools, approval.
        max_tokens: of all turns, prompts and completions together.
        max_repeats: repetitions of a call with the same tool, arguments, and result that end the loop. The model is warned first.
        max_calls: tool calls that are run in one turn.
        max_parallel: tools that run at the same time.
    """

    max_turns: int = 10
    max_seconds: float = 600
    max_tokens: int | None = None
    max_repeats: int = 3
    max_calls: int = 32
    max_parallel: int = 8


@dataclass(frozen=True, slots=True)
class Text:
    """A chunk of the stream: text, reasoning, refusal, fragments of calls.

    `switch` is as in `StreamChunk`: "restart" voids the turn so far.
    """

    deltas: tuple[Delta, ...]
    switch: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalAsked:
    """A call waits for the approval hook.

    `reason` is why: the tool acts; content from outside was read before and might have asked for the call; a secret is in the arguments.
    """

    call: ToolCall
    reason: ApprovalReason = "acts"


@dataclass(frozen=True, slots=True)
class ToolProgressed:
    """A running call reported progress. `total` is None where it is unknown."""

    call: ToolCall
    done: float
    total: float | None
    message: str


@dataclass(frozen=True, slots=True)
class InputAsked:
    """A running call waits for the user's answer to a question."""

    call: ToolCall
    question: Question


@dataclass(frozen=True, slots=True)
class InputGiven:
    """The question has its answer, and the call runs on."""

    call: ToolCall
    answer: Answer


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A call began to run."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A call ended.

    Events come in the order of the ends; replies to the model keep the order of the calls. `error` is the kind of fault, or empty.
    """

    call: ToolCall
    result: str
    error: Fault
    ms: float
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """A turn is complete: the assistant's message and the replies to its calls, to be stored together.

    The replies end with a message of the images that the tools returned, if there are any.
    """

    turn: int
    message: Message
    replies: tuple[Message, ...]
    finish_reason: str
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class AgentResult:
    """The result of a loop.

    `reason` says why it ended: "answered" on success; "refused", "empty", "length", and "content_filter" if the model ended it; otherwise
    the limit. `messages` are the new ones, in order. `text` is that of the last turn. `usage` is the sum over the turns, and `trail` has
    every attempt.
    """

    reason: Reason
    text: str
    messages: list[Message]
    finish_reason: str
    turns: int
    usage: Usage
    trail: AttemptLog


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event."""

    result: AgentResult


Event = Text | ApprovalAsked | ToolStarted | ToolProgressed | InputAsked | InputGiven | ToolFinished | TurnFinished | Finished
