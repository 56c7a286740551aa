"""Learn from the `prompt_tokens` that servers report: how they count, and which of them cut prompts without saying so.

    key = ("ollama", "llama3.1")
    calibration.observe(key, counted=count.tokens, usage=answer_usage)
    fit(messages, window=calibration.window(key, window), scale=calibration.factor(key), …)

A server that truncates (Ollama does, and answers 200) reports far less than it was sent. Such a report teaches nothing about counting: it
is kept apart as the window that the server really has, until a longer prompt goes through whole.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from webapp.patterns.types import Usage

_SHORT = 32  # tokens: below, the chat template's own text is most of what is reported
_SUSPICIOUS = 0.6  # no tokenizer in use needs so few tokens for what another counts
_SUSPICIOUS_ONCE_KNOWN = 0.8
_SURE = 3  # reports after which a server's way of counting is known
_WINDOW_SHORT = 1000  # tokens counted: no server has a smaller window
_MEMORY = 20  # reports over which the factor is averaged


@dataclass(slots=True)
class _Server:
    factor: float = 1.0
    reports: int = 0
    truncates_at: int | None = None


class Calibration:
    """What is known of each server, by any key that names it and its model."""

    def __init__(self) -> None:
        self._servers: dict[Hashable, _Server] = {}

    def factor(self, key: Hashable) -> float:
        """Tokens that the server counts for each one counted here; 1.0 where nothing is known."""
        server = self._servers.get(key)
        return server.factor if server else 1.0

    def truncates_at(self, key: Hashable) -> int | None:
        """The tokens to which the server cuts longer prompts silently; None where it was not seen to."""
        server = self._servers.get(key)
        return server.truncates_at if server else None

    def window(self, key: Hashable, window: int | None) -> int | None:
        """The window to fit into: the declared one, or what the server really reads where that is less."""
        truncates_at = self.truncates_at(key)
        return min(filter(None, (window, truncates_at)), default=None)

    def observe(self, key: Hashable, *, counted: int, usage: Usage) -> bool:
        """Take in a report about a prompt of `counted` tokens; says whether the server cut that prompt."""
        # Some servers leave cached tokens out of the prompt's; a part cannot be more than the whole.
        reported = usage.prompt_tokens + (usage.cached_tokens if usage.cached_tokens > usage.prompt_tokens else 0)
        if counted < _SHORT or reported <= 0:
            return False
        if reported < _WINDOW_SHORT * _SUSPICIOUS <= counted * _SUSPICIOUS:
            return False  # as few as no window holds: this server's numbers mean nothing
        server = self._servers.setdefault(key, _Server())
        ratio = reported / counted
        if self._truncated(server, counted, ratio):
            server.truncates_at = max(reported, server.truncates_at or 0)
            return True
        if server.truncates_at is not None and reported > server.truncates_at:
            server.truncates_at = None
        server.reports += 1
        server.factor += (min(max(ratio, 0.5), 4.0) - server.factor) / min(server.reports, _MEMORY)
        return False

    def _truncated(self, server: _Server, counted: int, ratio: float) -> bool:
        if counted < _WINDOW_SHORT:
            return False
        return ratio < (server.factor * _SUSPICIOUS_ONCE_KNOWN if server.reports >= _SURE else _SUSPICIOUS)
