"""Define the interface of the two engines, and read queries into the tokens that both take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from search.index import analysis

if TYPE_CHECKING:
    from search.models import Index
    from webapp.patterns.embeddings.similarity import Matrix

MAX_TERMS = 24
MAX_TERM_CHARS = 64
MAX_PHRASES = 40
MAX_QUERY_CHARS = 20_000
MIN_PREFIX_CHARS = 3
MIN_BEGINNING_CHARS = 5
QUOTED = re.compile(r'"([^"]{1,200})"')
IDENTIFIER = re.compile(r"(?<!\w)\w++(?:(?:[-./@:+#]|::|->)\w++)+")
"""Words joined by signs and without spaces: `PROJ-4711`, `config.max_size`, `std::vector`, `a/b.py`."""
# Words that nearly every passage holds: they cost time and rank nothing.
_COMMON_WORDS = """
    a about am an and any are as at be been but by can could did do does for from had has have how i if in into is it its me my of on
    or our should so some such than that the their them then there these they this those to was we were what when where which who why
    will with would you your
"""
STOP_WORDS = frozenset(_COMMON_WORDS.split())


class Hit(NamedTuple):
    """A passage and its score by one ranking: a cosine, or a full-text score; the larger the better.

    Attributes:
        exact: the passage holds a phrase or an identifier of the query.
    """

    chunk_id: int
    score: float
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """The words of a query as tokens of the index (`search.index.analysis`), without the syntax of any engine.

    A passage that holds more of them, and rarer ones, ranks higher; one that holds a phrase comes before all that hold none.

    Attributes:
        words: every form that a word may have in the index.
        phrases: tokens that stand side by side: quoted words, identifiers such as `PROJ-4711`, runs of scripts without spaces.
        prefix: the last word, when it may still be being typed.
        beginnings: long words, which may begin a compound or a part of one.
        literals: runs of scripts without spaces, as they are written in the query.
    """

    words: tuple[str, ...] = ()
    phrases: tuple[tuple[str, ...], ...] = ()
    prefix: str = ""
    beginnings: tuple[str, ...] = ()
    literals: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.words or self.phrases)


def terms(query: str) -> Terms:
    """Read a query: words, "quoted phrases", and identifiers; everything else in it means nothing. At most MAX_TERMS words count."""
    query = query[:MAX_QUERY_CHARS]
    every = list(analysis.runs(query))
    telling = [run for run in every if run[0] not in STOP_WORDS] or every
    telling = list(dict.fromkeys(telling))[:MAX_TERMS]
    words = [run[:MAX_TERM_CHARS] for run, spaceless in telling if not spaceless]
    spaceless = [run[:MAX_TERM_CHARS] for run, is_spaceless in telling if is_spaceless]
    last, last_is_spaceless = every[-1] if every else ("", False)
    unfinished = query[-1:].isalnum() and not last_is_spaceless and len(last) >= MIN_PREFIX_CHARS and last in words
    tokens = [token for word in words for token in analysis.query_stems(word)]
    tokens += [token for run in spaceless for token in _pairs(run)]
    return Terms(
        words=tuple(dict.fromkeys(tokens)),
        phrases=tuple(dict.fromkeys(_phrases(query, spaceless)))[:MAX_PHRASES],
        prefix=analysis.fold(last)[:MAX_TERM_CHARS] if unfinished else _single(spaceless),
        beginnings=tuple(analysis.fold(word) for word in words if len(word) >= MIN_BEGINNING_CHARS and word.isalpha()),
        literals=tuple(spaceless),
    )


def _single(spaceless: Sequence[str]) -> str:
    """Return the token of a character that stands alone in the query: it begins the pairs that hold it."""
    return next((tokens[0] for run in spaceless if len(tokens := analysis.pairs(run)) == 1), "")


def _pairs(run: str) -> list[str]:
    """Return the pairs of a run of the query; the lone last character counts only where it is all there is."""
    return analysis.pairs(run)[:-1] or analysis.pairs(run)


def _phrases(query: str, spaceless: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield quoted phrases, identifiers, and runs without spaces as tokens; each phrase has at least two."""
    found = [quoted for quoted in QUOTED.findall(query) if quoted.strip()] + IDENTIFIER.findall(query)
    for text in [*found, *spaceless]:
        for language in analysis.LATIN_LANGUAGES:
            tokens = [token for run in analysis.runs(text) for token in _phrase_tokens(run, language)]
            if len(tokens) > 1:
                yield tuple(tokens)


def _phrase_tokens(run: tuple[str, bool], language: str) -> list[str]:
    text, is_spaceless = run
    return _pairs(text) if is_spaceless else [analysis.stem(text[:MAX_TERM_CHARS], language)]


def exact_first(exact: Sequence[Hit], others: Sequence[Hit], k: int) -> list[Hit]:
    """Return the passages that hold a phrase, then the others, with scores that never rise."""
    known = {hit.chunk_id for hit in exact}
    ranked = [hit._replace(exact=True) for hit in exact] + [hit for hit in others if hit.chunk_id not in known]
    lowest = float("inf")
    result = []
    for hit in ranked[:k]:
        lowest = min(lowest, hit.score)
        result.append(hit._replace(score=lowest))
    return result


SAMPLE = 512
"""Passages that tell how similar passages at large are to a query."""
NO_SAMPLE = (0.0, 1.0, 0)


class FilesDamaged(Exception):
    """Report that the files lack rows that the database counts, so the index must be rebuilt."""


class Engine(Protocol):
    """Store the vectors of `Index` rows, rank by them, and rank passages by their words. Safe for any number of threads.

    If vectors are missing, the caller marks the index empty and queues a rebuild. Vectors are normalized float32. `within` limits a ranking
    to these passages; None means all of the index or the scopes.
    """

    def add(self, index: Index, ids: Sequence[int], vectors: Matrix) -> None:
        """Add passages durably, all or none.

        Raises:
            EmbeddingError: their dimension differs from the index's.
        """
        ...

    def remove(self, index: Index, ids: Sequence[int]) -> None:
        """Remove passages and their vectors completely. Unknown ids are ignored."""
        ...

    def drop(self, index: Index) -> None:
        """Delete an index completely."""
        ...

    def check(self, index: Index) -> None:
        """Check that the vectors exist that the database counts; otherwise mark the index empty."""
        ...

    def ids(self, index: Index) -> set[int]:
        """Return the passages that the index holds."""
        ...

    def count(self, index: Index) -> int:
        """Return the number of passages that the index holds."""
        ...

    def vectors(self, index: Index, ids: Sequence[int]) -> dict[int, Matrix]:
        """Return the vectors of those of these passages that the index holds."""
        ...

    def background(self, index: Index, query: Matrix) -> tuple[float, float, int]:
        """Return the mean and the standard deviation of the query's cosines with a sample of the passages, and the sample's size."""
        ...

    def nearest(self, index: Index, query: Matrix, k: int, *, within: Sequence[int] | None = None) -> list[Hit]:
        """Return the passages most similar to the query, by cosine, best first."""
        ...

    def matching(self, words: Terms, k: int, *, scopes: Sequence[str], within: Sequence[int] | None = None) -> list[Hit]:
        """Return the passages of the collections (by `scope`) that contain the words, best first."""
        ...
