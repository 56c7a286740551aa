"""Measure how much of the model's window the next question would take."""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.utils.translation import gettext_lazy as _

from chat.generation import history
from chat.generation.context_window import RESERVE, SUMMARIZE, key_of, window_of
from chat.generation.structured import schema_of
from chat.models import Conversation, Message
from webapp.accounts.models import User
from webapp.backends.runtime import registry
from webapp.backends.runtime.learned import calibration
from webapp.core.database import in_database
from webapp.patterns.agent.tools import ToolRegistry
from webapp.patterns.errors import ChainError
from webapp.patterns.tokens import counting
from webapp.patterns.types import Message as ApiMessage
from webapp.ports import toolbox

_LABELS = {
    "System": _("System prompt"),
    "Tools": _("Tool definitions"),
    "History": _("Conversation"),
    "Draft": _("Your message"),
    "Answer": _("Reserved for the answer"),
}


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the bar. `x` and `width` are in thousandths."""

    name: str
    tokens: int
    x: float
    width: float

    @property
    def label(self) -> str:
        """Return the slice's name as the legend shows it."""
        return str(_LABELS[self.name])


@dataclass(frozen=True, slots=True)
class Meter:
    """`window` in tokens, None where unknown; `over`: older messages will be left out, or summarized.

    `truncates_at`: the tokens to which the server cuts longer prompts without saying so.
    """

    slices: list[Slice]
    used: int
    window: int | None
    exact: bool
    truncates_at: int | None = None
    summarizes: bool = False

    @property
    def reserved(self) -> int:
        """Return the tokens kept free for the answer."""
        return next((each.tokens for each in self.slices if each.name == "Answer"), 0)

    @property
    def prompt(self) -> int:
        """Return the tokens that would be sent."""
        return self.used - self.reserved

    @property
    def over(self) -> bool:
        """Return whether the conversation needs more tokens than the window has."""
        return self.window is not None and self.used > self.window


async def measure(conversation: Conversation, user: User, draft: str) -> Meter | None:
    """Return the bar for a conversation with `draft` in the composer; None if its model cannot be resolved."""
    try:
        chain = await registry.resolve(conversation.model, user=user)
    except ChainError:
        return None
    model, key = chain.primary_model, key_of(chain)
    scale = calibration.factor(key)
    messages, leaf = await in_database(_messages, conversation)
    system = [message for message in messages if message["role"] == "system"]
    rest = [message for message in messages if message["role"] != "system"]
    schemas = (await _tools(conversation, user)).schemas()
    with_tools = await counting.acount_messages(system, model, schemas)
    without = await counting.acount_messages(system, model)
    counted = await counting.acount_messages(rest, model)
    counts = {
        "System": round(without.tokens * scale),
        "Tools": round((with_tools.tokens - without.tokens) * scale),
        "History": round(counted.tokens * scale) if rest else 0,
        "Draft": round(await counting.acount_text(draft, model) * scale) if draft else 0,
        "Answer": conversation.options.get("max_tokens") or RESERVE,
    }
    reported = _reported(leaf, key)
    if reported:
        last = await counting.acount_messages(rest[-1:], model)
        counts["History"] = max(0, reported + round(last.tokens * scale) - counts["System"] - counts["Tools"])
    meter = _meter(counts, window_of(chain), exact=counted.exact or bool(reported))
    summarizes = conversation.options.get("overflow") == SUMMARIZE
    return replace(meter, truncates_at=calibration.truncates_at(key), summarizes=summarizes)


async def _tools(conversation: Conversation, user: User) -> ToolRegistry:
    """Return the tools that are sent: none where a schema rules the answer."""
    if schema_of(conversation.options):
        return ToolRegistry()
    return await in_database(toolbox.chosen, user, conversation.model, conversation.options.get("tools"))


def _reported(leaf: Message | None, key: tuple[str, str]) -> int:
    """Return the tokens that the server counted in the last answer's whole prompt; 0 if it did not count, or read less than all."""
    report = leaf.report if leaf else {}
    whole = not report.get("left_out") and not report.get("cut") and report.get("counted_by") == list(key)
    return int(report.get("prompt_tokens") or 0) if whole else 0


def _messages(conversation: Conversation) -> tuple[list[ApiMessage], Message | None]:
    if conversation.leaf_id is None:
        return ([{"role": "system", "content": conversation.system_prompt}] if conversation.system_prompt else []), None
    messages, _origins = history.load(conversation, Message(parent_id=conversation.leaf_id, parts=[]))
    return messages, conversation.leaf


def _meter(counts: dict[str, int], window: int | None, *, exact: bool) -> Meter:
    used = sum(counts.values())
    scale = 1000 / max(window or 0, used, 1)
    slices, x = [], 0.0
    for name, count in counts.items():
        slices.append(Slice(name, count, x, count * scale))
        x += count * scale
    return Meter(slices, used, window, exact)
