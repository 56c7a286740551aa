"""Extract key sentences, answers to a question, and key words from a text. Nothing is generated."""

from __future__ import annotations

import math
import re
from collections import Counter

SENTENCE = re.compile(r"(?<=[.!?…。！？])[\"'”’)\]]*\s+|\n\s*\n|\n(?=\s*(?:[-*•#>]|\d+[.)])\s)")
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
MAX_SENTENCE_CHARS = 600
MAX_SENTENCES = 5_000
NOTE = "\n\n*The "
STOP_WORDS = frozenset(
    """
    a about above after again against all also am an and any are as at be because been before being below between both but by can could
    describe did do does doing down during each explain few find for from further give had has have having he her here hers him his how i
    if in into is it its itself just let like may me might more most much must my no nor not now of off on once one only or other our out
    over own per please said same say says shall she should show so some such than that the their them then there these they this those
    through to too tell under until up upon us very was we were what when where which while who whom why will with within without would
    you your yours
    """.split()  # noqa: SIM905 - a block of prose is easier to read than 150 quoted lines
)


def words(text: str) -> list[str]:
    """Return the content words of a text, in lower case and roughly stemmed."""
    return [_stem(word) for word in map(str.lower, WORD.findall(text)) if word not in STOP_WORDS]


def sentences(text: str) -> list[str]:
    """Return the distinct sentences and list items of a text, without list and heading marks."""
    parts = (" ".join(part.split()).lstrip("-*•#> ").strip() for part in SENTENCE.split(text)[:MAX_SENTENCES])
    return list(dict.fromkeys(part[:MAX_SENTENCE_CHARS] for part in parts if WORD.search(part)))


def summary(text: str, count: int) -> list[str]:
    """Return the `count` sentences that share most words with the rest of the text, in their order. Earlier ones win ties."""
    parts = sentences(text)
    frequency = Counter(words(text))
    scores = [_centrality(part, frequency) * _place(position, len(parts)) for position, part in enumerate(parts)]
    best = sorted(range(len(parts)), key=lambda position: (-scores[position], position))[:count]
    return [parts[position] for position in sorted(best)]


def passages(question: str, text: str, count: int) -> list[str]:
    """Return the sentences of `text` that share the rarest words with the question, best first; an empty list if none does."""
    parts = sentences(text)
    each = [set(words(part)) for part in parts]
    spread = Counter(word for found in each for word in found)
    wanted = set(words(question))
    scores = [sum(math.log1p(len(parts) / spread[word]) for word in wanted & found) for found in each]
    best = sorted(range(len(parts)), key=lambda position: (-scores[position], position))
    return [parts[position] for position in best[:count] if scores[position] > 0]


def keywords(text: str, count: int) -> list[str]:
    """Return the most frequent content words, as they are written."""
    found = [word for word in WORD.findall(text) if word.lower() not in STOP_WORDS and len(word) > 2 and not word.isdigit()]
    frequency = Counter(map(str.lower, found))
    first = {word.lower(): word for word in reversed(found)}
    return [first[word] for word, _ in frequency.most_common(count)]


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ies", "ied", "es", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _centrality(sentence: str, frequency: Counter[str]) -> float:
    found = set(words(sentence))
    # Divided by the square root of the length, so that neither very short nor very long sentences win.
    return sum(frequency[word] - 0.5 for word in found) / math.sqrt(len(found) + 3)


def _place(position: int, total: int) -> float:
    """Return a weight by position: sentences at the start and the end matter more."""
    return 1.35 if position == 0 else 1.1 if position in {1, total - 1} else 1.0
