"""What the tool loop says while it runs, what bounds it, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from webapp.patterns.agent.interaction import Answer, Question
from webapp.patterns.agent.tools import Fault
from webapp.patterns.types import AttemptLog, Delta, Message, ToolCall, Usage

Reason = Literal["answered", "refused", "empty", "length", "content_filter", "turns", "seconds", "tokens", "stuck"]
ApprovalReason = Literal["acts", "untrusted", "secret"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a loop.

    Args:
        max_turns: answers of the model; tools called in the last one are not run.
        max_seconds: of wall clock, over everything: waiting, streaming, tools, approval.
        max_tokens: of all turns, prompts and completions together.
        max_repeats: the same tool with the same arguments and the same result, this often, ends the loop. The model is warned before.
        max_calls: tool calls in one turn that are run.
        max_parallel: tools running at once.
    """

    max_turns: int = 10
    max_seconds: float = 600
    max_tokens: int | None = None
    max_repeats: int = 3
    max_calls: int = 32
    max_parallel: int = 8


@dataclass(frozen=True, slots=True)
class Text:
    """A packet of the stream: text, reasoning, refusal, fragments of calls. `switch` as in `Packet`: "restart" voids the turn so far."""

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
    """A call ended: in the order they end, while replies to the model keep the order of the calls. `error`: the kind of fault, or empty."""

    call: ToolCall
    result: str
    error: Fault
    ms: float


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """A turn is whole: the assistant's message and the replies to its calls, to be kept together."""

    turn: int
    message: Message
    replies: tuple[Message, ...]
    finish_reason: str
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class AgentResult:
    """How a loop went.

    `reason` says why it ended: "answered" is the good one, "refused", "empty", "length" and "content_filter" are the model's ends, the
    others name the limit. `messages` are the new ones, in order. `text` is the last turn's. `usage` sums the turns, `trail` has
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
