"""Fit a conversation into a model's window.

    fitted = fit(messages, window=8192, reserve=1024, model="gpt-4o", tools=tools)
    fitted.messages      # what to send
    fitted.report        # what was left out, what was cut, and how full the window is

A conversation that fits is returned as it came. Otherwise the oldest turns go first. Always kept: system and developer messages, the
latest user message, pinned messages, and the group of the last message. A group is an assistant message with tool calls and all its
replies: it stays or goes as one, since servers refuse one without the other. Older history goes by whole turns, so that what is left begins
with a user's message; where a turn does not fit whole, its question and answer stay without the work of tools between them. When what must
stay is still too long, its longest texts are cut in the middle, with a marker: nothing is sent that the server can only refuse.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.patterns.context.truncation import cut_down
from webapp.patterns.tokens.counting import OFF_LOOP, MessageCounter, check_messages, is_quick, texts
from webapp.patterns.types import Json, Message

INSTRUCTIONS = frozenset({"system", "developer"})
_EXACT_MARGIN = 8
_ESTIMATE_MARGIN = 20  # a twentieth of the window


@dataclass(frozen=True, slots=True)
class Report:
    """What fitting did. Positions are indexes into the given messages.

    `tokens` is the size of the result, tools and priming included; `before` that of the input. `exact` says whether these are counts or
    estimates.
    """

    window: int | None
    budget: int | None
    before: int
    tokens: int
    exact: bool
    left_out: tuple[int, ...] = ()
    cut: tuple[int, ...] = ()

    @property
    def untouched(self) -> bool:
        """Return whether the conversation is unchanged."""
        return not self.left_out and not self.cut

    @property
    def fill(self) -> float | None:
        """Return the share of the window that the prompt takes, 0 to 1; None if the window is unknown."""
        return min(1.0, self.tokens / self.window) if self.window else None


@dataclass(frozen=True, slots=True)
class Fitted:
    """The messages to send, and a report about the others."""

    messages: list[Message]
    report: Report


def fit(
    messages: Sequence[Message],
    *,
    window: int | None,
    reserve: int = 0,
    model: str = "",
    tools: Sequence[Json] = (),
    pins: Iterable[int] = (),
    margin: int | None = None,
    scale: float = 1.0,
) -> Fitted:
    """Make `messages` fit into `window` tokens, less `reserve` for the answer and a margin for counting errors.

    Args:
        window: the model's context window in tokens; None if unknown, then nothing is omitted.
        reserve: tokens reserved for the answer.
        pins: indexes of messages that must stay.
        margin: tokens kept free in addition; by default 8 for exact counts and 5 % of the window for estimates.
        scale: tokens that the server counts for each one counted here (`calibration.Calibration.factor`).

    Raises:
        InputError: the window cannot hold even the tools and the truncated messages that must stay, or a message is malformed.
    """
    check_messages(messages)
    counting = MessageCounter(model)
    costs = counting.messages(messages)
    fixed = counting.tools(tools) + counting.rules.priming
    before = math.ceil((sum(costs) + fixed) * scale)
    if window is None:
        return Fitted(list(messages), Report(None, None, before, before, counting.exact))
    if margin is None:
        margin = _EXACT_MARGIN if counting.exact else max(_EXACT_MARGIN, window // _ESTIMATE_MARGIN)
    budget = window - reserve - margin
    if before <= budget:
        return Fitted(list(messages), Report(window, budget, before, before, counting.exact))
    kept, room = _choose(messages, costs, frozenset(pins), int(budget / scale) - fixed)
    fitted, cut = {index: messages[index] for index in kept}, list[int]()
    if room < 0:
        fitted, cut = cut_down(fitted, sum(costs[index] for index in kept) + room, counting)
    tokens = math.ceil((sum(counting.messages(fitted.values())) + fixed) * scale)
    left_out = tuple(index for index in range(len(messages)) if index not in fitted)
    return Fitted(list(fitted.values()), Report(window, budget, before, tokens, counting.exact, left_out, tuple(cut)))


async def afit(messages: Sequence[Message], *, model: str = "", **options: Any) -> Fitted:
    """Run `fit` without blocking the event loop if there is much text to count or truncate."""
    check_messages(messages)
    if is_quick(messages, model) and all(len(text) < OFF_LOOP for text in texts(messages)):
        return fit(messages, model=model, **options)
    return await asyncio.to_thread(fit, messages, model=model, **options)


def groups_of(messages: Sequence[Message]) -> list[list[int]]:
    """Return the indexes of messages in atomic groups, by their first message: tool calls with their replies, other messages alone."""
    groups: list[list[int]] = []
    callers: dict[str, list[int]] = {}
    last: list[int] = []
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            group = callers.get(str(message.get("tool_call_id") or ""), last)
            if group:
                group.append(index)
                continue
        last = []
        group = [index]
        groups.append(group)
        if message.get("tool_calls"):
            last = group
            callers.update((str(call.get("id") or ""), group) for call in message["tool_calls"])
    return groups


def _choose(messages: Sequence[Message], costs: Sequence[int], pins: frozenset[int], room: int) -> tuple[list[int], int]:
    """Return the indexes to keep, in order, and the remaining tokens of `room`; negative if the required messages are too long."""
    groups = groups_of(messages)
    prices = [sum(costs[index] for index in group) for group in groups]
    users = [number for number, group in enumerate(groups) if messages[group[0]]["role"] == "user"]
    kept = {number for number, group in enumerate(groups) if messages[group[0]]["role"] in INSTRUCTIONS or not pins.isdisjoint(group)}
    kept.update(users[-1:], (number for number, group in enumerate(groups) if group[-1] == len(messages) - 1))
    room -= sum(prices[number] for number in kept)
    for unit in _units(len(groups), users):
        without_tools = [number for number in unit if not _is_tool_use(messages[groups[number][0]])]
        for part in (unit, without_tools):
            price = sum(prices[number] for number in part if number not in kept)
            if part and price <= room:
                room -= price
                kept.update(part)
                break
        else:
            break
    return sorted(index for number in kept for index in groups[number]), room


def _is_tool_use(message: Message) -> bool:
    return bool(message.get("tool_calls")) or message["role"] == "tool"


def _units(groups: int, users: Sequence[int]) -> Iterator[range]:
    """Return numbers of groups that stay or go together, newest first: groups of the current turn one by one, then whole turns."""
    start = users[-1] if users else 0
    yield from (range(number, number + 1) for number in range(groups - 1, start - 1, -1))
    end = start
    for start in reversed([0, *users[:-1]]):
        if start < end:
            yield range(start, end)
        end = start
