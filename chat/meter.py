"""What of the model's window the next question would take."""

from __future__ import annotations

from dataclasses import dataclass

from chat import history
from chat.db import read
from chat.generate import RESERVE
from chat.models import Conversation, Message
from webapp.accounts.models import User
from webapp.backends import registry
from webapp.backends.toolbox import toolbox
from webapp.patterns import tokens
from webapp.patterns.errors import ChainError
from webapp.patterns.types import Message as ApiMessage


@dataclass(frozen=True, slots=True)
class Slice:
    """A piece of the bar. `x` and `width` in thousandths of it."""

    name: str
    tokens: int
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Meter:
    """`window` in tokens, None where unknown; `over`: older messages will be left out."""

    slices: list[Slice]
    used: int
    window: int | None
    exact: bool

    @property
    def over(self) -> bool:
        return self.window is not None and self.used > self.window


async def measure(conversation: Conversation, user: User, draft: str) -> Meter | None:
    """The bar for a conversation with `draft` in the composer; None when its model cannot be resolved."""
    try:
        chain = await registry.resolve(conversation.model, user=user)
    except ChainError:
        return None
    messages = await read(_messages)(conversation)
    model = chain.primary_model
    names = conversation.options.get("tools", [tool.name for tool in toolbox])
    system = [message for message in messages if message["role"] == "system"]
    rest = [message for message in messages if message["role"] != "system"]
    counted = await tokens.acount_messages(rest, model)
    schemas = toolbox.only(names).schemas()
    with_tools = await tokens.acount_messages(system, model, schemas)
    without = await tokens.acount_messages(system, model)
    counts = {
        "System": without.tokens,
        "Tools": with_tools.tokens - without.tokens,
        "History": counted.tokens if rest else 0,
        "Draft": await tokens.acount_text(draft, model) if draft else 0,
        "Answer": conversation.options.get("max_tokens") or RESERVE,
    }
    return _meter(counts, chain.window, exact=counted.exact)


def _messages(conversation: Conversation) -> list[ApiMessage]:
    if conversation.leaf_id is None:
        return [{"role": "system", "content": conversation.system_prompt}] if conversation.system_prompt else []
    messages, _origins = history.load(conversation, Message(parent_id=conversation.leaf_id, parts=[]))
    return messages


def _meter(counts: dict[str, int], window: int | None, *, exact: bool) -> Meter:
    used = sum(counts.values())
    scale = 1000 / max(window or 0, used, 1)
    slices, x = [], 0.0
    for name, count in counts.items():
        slices.append(Slice(name, count, x, count * scale))
        x += count * scale
    return Meter(slices, used, window, exact)
