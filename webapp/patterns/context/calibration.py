"""Learn from the `prompt_tokens` that servers report: how they count, and which of them cut prompts without saying so.

    key = ("ollama", "llama3.1")
    calibration.observe(key, counted=count.tokens, usage=answer_usage)
    fit(messages, window=calibration.window(key, window), scale=calibration.factor(key), …)

A server that truncates (Ollama does, and answers 200) reports about as many tokens for a long prompt as for a longer one. A server that
counts in another way reports more for a longer one. One report cannot tell the two apart, so a window takes `INDEPENDENT` reports about
prompts of different lengths. It is never smaller than a prompt that the server has read, it ends when a longer prompt is read, and it
expires.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Final

from webapp.patterns.types import Usage

INDEPENDENT: Final = 3
"""Reports about prompts of different lengths that a window takes."""
EXPIRES: Final = 86_400.0
"""Seconds after its last confirmation at which a window is forgotten."""
_SHORT: Final = 32
"""Tokens; the chat template's own text is most of what is reported of shorter prompts."""
_SUSPICIOUS: Final = 0.6
"""No tokenizer in use needs so few tokens for those that another counts."""
_SUSPICIOUS_ONCE_KNOWN: Final = 0.8
_SURE: Final = 3
"""Reports after which a server's way of counting is known."""
_WINDOW_SHORT: Final = 1000
"""Tokens counted; no server has a smaller window."""
_MEMORY: Final = 20
"""Reports over which the factor is averaged."""
_GROWTH: Final = 1.2
"""The longest of the suspicious prompts to the shortest: less says nothing."""


@dataclass(slots=True)
class Reading:
    """The state of one server and model.

    Attributes:
        factor: tokens that the server counts for each one counted here.
        reports: reports that the factor comes from.
        truncates_at: the tokens to which the server cuts longer prompts silently; None where it was not seen to.
        read_up_to: the longest prompt in tokens that the server reported to have read.
        confirmed_at: seconds since the epoch of the last report that confirmed `truncates_at`.
        cuts: (counted, reported) of the latest suspicious reports.
    """

    factor: float = 1.0
    reports: int = 0
    truncates_at: int | None = None
    read_up_to: int = 0
    confirmed_at: float = 0.0
    cuts: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=6))


class Calibration:
    """The readings of all servers, by any key that names a server and its model.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._readings: dict[Hashable, Reading] = {}
        self._changed: set[Hashable] = set()

    def factor(self, key: Hashable) -> float:
        """Return the tokens that the server counts for each one counted here; 1.0 where nothing is known."""
        reading = self._readings.get(key)
        return reading.factor if reading else 1.0

    def truncates_at(self, key: Hashable) -> int | None:
        """Return the tokens to which the server cuts longer prompts silently; None where it was not seen to, or long ago."""
        reading = self._readings.get(key)
        if reading is None or reading.truncates_at is None or self._clock() - reading.confirmed_at > EXPIRES:
            return None
        return reading.truncates_at

    def window(self, key: Hashable, window: int | None) -> int | None:
        """Return the window to fit into: the declared one, or the one that the server was seen to read where that is smaller."""
        return min(filter(None, (window, self.truncates_at(key))), default=None)

    def observe(self, key: Hashable, *, counted: int, usage: Usage) -> bool:
        """Take in a report about a prompt of `counted` tokens; return whether the server is known to have cut that prompt."""
        # Some servers leave cached tokens out of the prompt's; a part cannot be more than the whole.
        reported = usage.prompt_tokens + (usage.cached_tokens if usage.cached_tokens > usage.prompt_tokens else 0)
        if counted < _SHORT or reported <= 0:
            return False
        if reported < _WINDOW_SHORT * _SUSPICIOUS <= counted * _SUSPICIOUS:
            return False  # as few as no window holds: this server's numbers mean nothing
        reading = self._readings.setdefault(key, Reading())
        reading.read_up_to = max(reading.read_up_to, reported)
        if reading.truncates_at is not None and reported > reading.truncates_at:
            reading.truncates_at = None
            reading.cuts.clear()
            self._changed.add(key)
        if self._is_suspicious(reading, counted, reported / counted):
            return self._suspect(key, reading, counted, reported)
        reading.reports += 1
        reading.factor += (min(max(reported / counted, 0.5), 4.0) - reading.factor) / min(reading.reports, _MEMORY)
        if reading.reports in {1, 3, 10} or reading.reports % _MEMORY == 0:
            self._changed.add(key)
        return False

    def _is_suspicious(self, reading: Reading, counted: int, ratio: float) -> bool:
        if counted < _WINDOW_SHORT:
            return False
        return ratio < (reading.factor * _SUSPICIOUS_ONCE_KNOWN if reading.reports >= _SURE else _SUSPICIOUS)

    def _suspect(self, key: Hashable, reading: Reading, counted: int, reported: int) -> bool:
        """Note a report of far too few tokens; return whether such reports are enough to know that the server truncates."""
        if all(counted != other for other, _ in reading.cuts):
            reading.cuts.append((counted, reported))
        if not _is_truncation(list(reading.cuts)):
            return False
        reading.truncates_at = reading.read_up_to
        reading.confirmed_at = self._clock()
        self._changed.add(key)
        return True

    # --- kept elsewhere

    def take_changes(self) -> Iterator[tuple[Hashable, Reading]]:
        """Yield the readings that changed enough to be stored, each once."""
        changed, self._changed = self._changed, set()
        yield from ((key, self._readings[key]) for key in changed if key in self._readings)

    def restore(self, key: Hashable, reading: Reading) -> None:
        """Take a stored reading, where this process has seen less."""
        own = self._readings.get(key)
        if own is None or own.reports < reading.reports or own.confirmed_at < reading.confirmed_at:
            self._readings[key] = reading

    def forget(self, key: Hashable) -> None:
        """Forget a server and model."""
        self._readings.pop(key, None)
        self._changed.discard(key)


def _is_truncation(cuts: list[tuple[int, int]]) -> bool:
    """Return whether the reported tokens stay about the same while the prompts grow."""
    if len(cuts) < INDEPENDENT:
        return False
    counted, reported = [one for one, _ in cuts], [one for _, one in cuts]
    growth = max(counted) / min(counted)
    return growth >= _GROWTH and max(reported) / min(reported) < 1 + (growth - 1) / 2
