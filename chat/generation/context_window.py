"""Fit a conversation into the context window: omit or summarize the excess, and calibrate the token count with servers' reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from django.utils.translation import gettext_lazy as _

from chat.models import Conversation
from webapp.backends.runtime import learned
from webapp.backends.runtime.learned import calibration
from webapp.patterns.context import fitting
from webapp.patterns.context.summary import Summary, fit_with_summary
from webapp.patterns.errors import InputError
from webapp.patterns.fallback.chain import Chain
from webapp.patterns.tokens import counting
from webapp.patterns.types import Attempt, AttemptLog, Message

RESERVE = 1024
"""Tokens that are reserved for the answer if the user set no limit."""
LEAVE_OUT, SUMMARIZE = "leave_out", "summarise"  # as conversations store it
OVERFLOW = [(LEAVE_OUT, _("Leave them out")), (SUMMARIZE, _("Summarize them"))]


def key_of(chain: Chain) -> tuple[str, str]:
    """Return the key of the chain's first step in the calibration."""
    return chain.steps[0].backend.name, chain.primary_model


def window_of(chain: Chain) -> int | None:
    """Return the window in tokens: as declared, or as the server was seen to read."""
    return calibration.window(key_of(chain), chain.window)


@dataclass(slots=True)
class ContextFitter:
    """Fit the messages of one answer. `origins` names the stored message behind each API message."""

    conversation: Conversation
    chain: Chain
    origins: Sequence[UUID | None]
    trail: AttemptLog
    report: dict[str, Any] = field(default_factory=dict)
    summary: Summary | None = None

    def __post_init__(self) -> None:
        self.summary = from_json(self.conversation.summary)

    async def fit(self, messages: list[Message], tools: Sequence[dict[str, Any]]) -> list[Message]:
        """Return the messages to send; `report` says what became of the others.

        What was learned about a window never refuses a message: where nothing fits into it, the declared window counts.
        """
        window = window_of(self.chain)
        try:
            return await self._fit(messages, tools, window)
        except InputError:
            if window == self.chain.window:
                raise
        return await self._fit(messages, tools, self.chain.window)

    async def _fit(self, messages: list[Message], tools: Sequence[dict[str, Any]], window: int | None) -> list[Message]:
        reserve = self.conversation.options.get("max_tokens") or RESERVE
        options: dict[str, Any] = {
            "window": window,
            "reserve": min(reserve, window // 2) if window else reserve,
            "model": self.chain.primary_model,
            "tools": tools,
            "scale": calibration.factor(key_of(self.chain)),
        }
        if self.conversation.options.get("overflow") != SUMMARIZE:
            fitted = await fitting.afit(messages, **options)
            self._note(fitted.report, None)
            return fitted.messages
        summarized = await fit_with_summary(messages, backend=self.chain, previous=self.summary, trail=self.trail, **options)
        self.summary = summarized.summary or self.summary
        self._note(summarized.report, summarized.summary)
        if summarized.error:
            self.report["unsummarised"] = summarized.error.message
        return summarized.messages

    def _note(self, report: fitting.Report, summary: Summary | None) -> None:
        self.report = {
            "window": report.window,
            "tokens": report.tokens,
            "exact": report.exact,
            "left_out": self._ids(report.left_out),
            "cut": self._ids(report.cut),
            **({"summary": summary.text} if summary else {}),
        }

    def _ids(self, positions: Sequence[int]) -> list[str]:
        """Return the stored messages at these positions of the API's list, each once."""
        found = {str(self.origins[at]): None for at in positions if at < len(self.origins) and self.origins[at]}
        return list(found)

    async def learn(self) -> None:
        """Learn from the servers' reports about the prompts that they received."""
        for attempt in self.trail.attempts:
            chat = attempt.path == "chat/completions"
            if chat and attempt.outcome == "ok" and attempt.request and attempt.usage.prompt_tokens and not attempt.usage.estimated:
                await self._observe(attempt, attempt.request)
        await learned.save_readings()

    async def _observe(self, attempt: Attempt, sent: dict[str, Any]) -> None:
        counted = (await counting.acount_messages(sent["messages"], attempt.model, sent.get("tools") or ())).tokens
        reported = attempt.usage.prompt_tokens
        if calibration.observe((attempt.backend, attempt.model), counted=counted, usage=attempt.usage):
            self.report["truncated"] = {"backend": attempt.backend, "sent": counted, "read": reported}
        else:
            self.report.update(prompt_tokens=reported, counted_by=[attempt.backend, attempt.model])


def from_json(data: dict[str, Any]) -> Summary | None:
    """Return a summary from its stored form."""
    return Summary(data["text"], tuple(data["covers"]), data["digest"]) if data else None


def as_json(summary: Summary | None) -> dict[str, Any]:
    """Return the stored form of a summary."""
    return asdict(summary) if summary else {}
