"""The one right answer to each question, and the record of the answers that the upstreams sent completely.

A question is `Question chat-17?`. Its answer is words that each carry the question's name and their place (`chat-17.0 chat-17.1 …`), so a
word that is missing, doubled or of another answer is seen wherever the answer turns up.
"""

from __future__ import annotations

import re
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

_QUESTION = re.compile(r"Question ([a-z]+-[\w-]+)\?")


def question(name: str) -> str:
    return f"Question {name}?"


def name_of(text: object) -> str:
    """The name of the question, empty for other texts: the product asks models for titles too."""
    found = _QUESTION.fullmatch(text) if isinstance(text, str) else None
    return found[1] if found else ""


def answer(name: str) -> list[str]:
    """The words of the right answer: 20 to 79, always the same."""
    return [f"{name}.{place}" for place in range(20 + zlib.crc32(name.encode()) % 60)]


def asked(messages: list[dict[str, Any]]) -> tuple[str, str]:
    """The question that a list of messages ends with, and what is still to be said: all, or what a cut answer lacks."""
    last = messages[-1]["content"]
    if name := name_of(last):
        return name, " ".join(answer(name))
    partial = messages[-2] if len(messages) > 2 else {}
    name = name_of(messages[-3]["content"]) if partial.get("role") == "assistant" else ""
    if not name or not str(last).startswith("Continue"):
        return "", "A title"
    whole, said = " ".join(answer(name)), str(partial["content"])
    return name, whole.removeprefix(said) if whole.startswith(said) else "the partial is wrong"


@dataclass
class Record:
    """The answers that upstreams gave whole: for each question, when. Written by the upstreams' threads, read by the test."""

    whole: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    requests: int = 0
    faults: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note_request(self, fault: str = "") -> None:
        with self._lock:
            self.requests += 1
            if fault:
                self.faults[fault] += 1

    def note_whole(self, name: str) -> None:
        if name:
            with self._lock:
                self.whole[name].append(time.monotonic())

    def answers(self, kind: str) -> Iterator[tuple[str, list[float]]]:
        """The questions of one kind (`chat`), each with the moments of its whole answers."""
        return ((name, times) for name, times in self.whole.items() if name.startswith(f"{kind}-"))

    def needless(self, kind: str, kills: list[tuple[float, float]], grace: float) -> list[str]:
        """Questions asked again although the server lived for `grace` seconds after a whole answer: none may be.

        A whole answer during a kill, from before the signal to the next start, went to a process that could not keep it.
        """
        return [
            name
            for name, times in self.answers(kind)
            if any(not any(began - grace <= first <= started for began, started in kills) for first, _second in pairwise(times))
        ]
