"""The interface of the two engines, and the words that both take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from search.models import Index
    from webapp.patterns.embeddings.similarity import Matrix

MAX_TERMS = 24
MAX_TERM_CHARS = 64
MIN_PREFIX_CHARS = 3
# Words that nearly every passage holds: they cost time and rank nothing.
_COMMON_WORDS = """
    a about am an and any are as at be been but by can could did do does for from had has have how i if in into is it its me my of on
    or our should so some such than that the their them then there these they this those to was we were what when where which who why
    will with would you your
"""
STOP_WORDS = frozenset(_COMMON_WORDS.split())


class Hit(NamedTuple):
    """A passage and what a ranker gave it: a cosine, or a full-text score; the larger the better."""

    chunk_id: int
    score: float


@dataclass(frozen=True, slots=True)
class Terms:
    """The words of a query, without the syntax of any engine. A passage that holds more of them, and rarer ones, ranks higher."""

    words: tuple[str, ...] = ()
    phrases: tuple[tuple[str, ...], ...] = ()
    prefix: str = ""
    """The last word, when it may still be being typed."""

    def __bool__(self) -> bool:
        return bool(self.words or self.phrases)


def terms(query: str) -> Terms:
    """Read a query: words, and "quoted phrases"; everything else in it means nothing. At most MAX_TERMS words count."""
    phrases = [tuple(_words(phrase)) for phrase in re.findall(r'"([^"]{1,200})"', query)]
    phrases = [phrase for phrase in phrases if len(phrase) > 1]
    every = _words(query)
    telling = [word for word in every if word not in STOP_WORDS] or every
    words = tuple(dict.fromkeys(telling))[:MAX_TERMS]
    unfinished = bool(every) and query[-1:].isalnum() and len(every[-1]) >= MIN_PREFIX_CHARS and every[-1] in words
    return Terms(words, tuple(phrases[:4]), every[-1] if unfinished else "")


def _words(text: str) -> list[str]:
    return [word[:MAX_TERM_CHARS] for word in re.findall(r"\w+", text[:20_000].lower()) if word.strip("_")]


class FilesDamaged(Exception):
    """The files do not hold what the database counts: the index must be built again."""


class Engine(Protocol):
    """Keeps the vectors of `Index` rows and ranks by them; ranks passages by their words. Used from any number of threads.

    Whoever finds that vectors are lost makes the index an empty one, to be built again.
    Vectors are normalized float32. `within` limits a ranking to these passages; None means all of the index or the scopes.
    """

    def add(self, index: Index, ids: Sequence[int], vectors: Matrix) -> None:
        """Add passages: all of them, durably, or none. Raises `EmbeddingError` for another dimension than the index has."""
        ...

    def remove(self, index: Index, ids: Sequence[int]) -> None:
        """Forget passages, and leave nothing of their vectors. Unknown ids are ignored."""
        ...

    def drop(self, index: Index) -> None:
        """Forget all of an index."""
        ...

    def check(self, index: Index) -> None:
        """Make sure that what the database counts is there; an index that lost its vectors becomes an empty one."""
        ...

    def ids(self, index: Index) -> set[int]:
        """The passages that the index holds."""
        ...

    def count(self, index: Index) -> int:
        """How many passages the index holds."""
        ...

    def vectors(self, index: Index, ids: Sequence[int]) -> dict[int, Matrix]:
        """The vectors of those of these passages that the index holds."""
        ...

    def nearest(self, index: Index, query: Matrix, k: int, *, within: Sequence[int] | None = None) -> list[Hit]:
        """The passages most like the query, by cosine, best first."""
        ...

    def matching(self, words: Terms, k: int, *, scopes: Sequence[str], within: Sequence[int] | None = None) -> list[Hit]:
        """The passages of the collections (by `scope`) that the words are in, best first."""
        ...
