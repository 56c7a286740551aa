"""The counts of a soak: the users add to them, and the end of the test asserts and prints them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """`lost`, `doubled` and `wrong` hold a line of evidence for each; `told` counts the failures that the user was told of, by what."""

    done: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    def compare(self, who: str, got: list[str], right: list[str]) -> bool:
        """Hold what came against what is right; whether it is the same."""
        counts, wanted = Counter(got), Counter(right)
        if missing := wanted - counts:
            self.lost.append(f"{who}: {sum(missing.values())} of {len(right)} words, as {next(iter(missing))}")
        if extra := counts - wanted:
            self.doubled.append(f"{who}: {sum(extra.values())} words too many, as {next(iter(extra))}")
        if got != right and not missing and not extra:
            self.lost.append(f"{who}: the words are in another order")
        return got == right
