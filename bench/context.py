"""Measure token counting and context fitting against bare tiktoken, and the longest wait of the event loop.

python -m bench context
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from statistics import median

import tiktoken

from webapp.patterns.context.fitting import fit
from webapp.patterns.tokens.counting import Counter, acount_text
from webapp.patterns.types import Message

MODEL = "gpt-4o"
_WORDS = "the of context window and tokens for it's streaming a 2,048 answer, (through) fallback chain. München naïve\n\n def x():"


def prose(length: int, seed: int) -> str:
    """Text of about so many characters, never the same twice."""
    chosen, known = random.Random(seed), _WORDS.split(" ")
    words = [f"{chosen.choice(known)}{chosen.randint(0, 99) if chosen.random() < 0.1 else ''}" for _ in range(length // 6)]
    return " ".join(words)


def conversation(count: int) -> list[Message]:
    """Return a system message and `messages` others."""
    turns: list[Message] = [{"role": ("user", "assistant")[number % 2], "content": prose(300, number)} for number in range(count)]
    return [{"role": "system", "content": "Be brief."}, *turns, {"role": "user", "content": "And now?"}]


def milliseconds(work: Callable[[], object], times: int = 15) -> float:
    """Return the median CPU time in milliseconds."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append((time.process_time() - began) * 1000)
    return median(taken)


def timed(count: Callable[[str], int], texts: list[str]) -> tuple[list[int], float]:
    """Return the counts and the seconds of CPU that they took."""
    began = time.process_time()
    counts = list(map(count, texts))
    return counts, time.process_time() - began


def counting() -> None:
    """Compare the counter with `encode_ordinary` on the same texts, alternating."""
    bare = tiktoken.get_encoding("o200k_base")
    for name, length, count in (("messages of 300 characters", 300, 1000), ("documents of 200 KB", 200_000, 3)):
        ratios = []
        for attempt in range(9):
            texts = [prose(length, attempt * 10_000 + number) for number in range(count)]
            theirs, reference = timed(lambda text: len(bare.encode_ordinary(text)), texts)
            ours, mine = timed(Counter("o200k_base").text, [f"{text}."[:-1] for text in texts])
            ratios.append(mine / reference)
            assert ours == theirs
        print(f"counting {name}: {median(ratios):.2f}x the time of bare tiktoken (goal: 1.10x)")


async def longest_wait() -> float:
    """Return the longest time in ms between two turns of the event loop while a megabyte of one letter is counted."""
    await acount_text("warm", MODEL)
    counting = asyncio.ensure_future(acount_text("a" * 1_000_000, MODEL))
    longest, last = 0.0, time.perf_counter()
    while not counting.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest * 1000


def main() -> None:
    Counter("o200k_base").text("load")
    counting()
    messages = conversation(2000)
    first = milliseconds(lambda: fit(messages, window=128_000, reserve=4096, model=MODEL), times=1)
    again = milliseconds(lambda: fit(messages, window=128_000, reserve=4096, model=MODEL))
    trimmed = milliseconds(lambda: fit(messages, window=8192, reserve=1024, model=MODEL))
    print(
        f"fitting 2,000 messages: {again:.1f} ms where they fit, {trimmed:.1f} ms where they do not (goal: 5 ms); uncounted {first:.0f} ms"
    )
    print(f"1 MB of one letter: the event loop waits {asyncio.run(longest_wait()):.1f} ms at most (goal: 50 ms)")


if __name__ == "__main__":
    main()
