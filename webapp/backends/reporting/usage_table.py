"""Hold usage as numpy columns, and group them. Attempts are summed up in this form, and the usage page reads the sums in it.

A table has one row for each combination of dimensions. Its histogram of times to first token is sparse: one entry per row and bin. A bin
is 5 % wide, so a percentile read from a histogram is off by at most 2.5 %.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

DIMENSIONS: Final = ("start", "backend", "model", "route", "source", "user")
COUNTS: Final = ("requests", "attempts", "failed", "prompt_tokens", "completion_tokens", "estimated_tokens", "cost", "priced")
"""The columns of `UsageTable.counts`. `cost` is in units of 1e-8; `priced` counts the attempts with a known cost."""
COST_UNIT: Final = Decimal("1e-8")
GROWTH: Final = 1.05
"""Ratio of neighboring bins."""
BINS: Final = 512
"""More bins than there are: bin 511 begins at 6.7e10 ms."""
MAX_DENSE: Final = 4_000_000
"""Number of cells up to which a histogram is summed in a dense array."""
ENTRY: Final = [("bin", "<u2"), ("count", "<u4")]
"""The stored form of an entry of a histogram, as a numpy dtype."""


def milliseconds_of(number: int) -> float:
    """Return the center of a bin."""
    return float(GROWTH**number)


def bins_of(milliseconds: NDArray[np.float64]) -> Integers:
    """Return the bins of times in milliseconds."""
    import numpy as np

    return np.rint(np.log(np.clip(milliseconds, 1.0, 1e10)) / math.log(GROWTH)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class UsageTable:
    """Sums of attempts.

    Attributes:
        values: by dimension, its distinct values.
        codes: (rows, dimensions): the index of each row's value in `values`.
        counts: (rows, `COUNTS`).
        bins: (entries, 3): row, bin, and number of answers.
        errors: (entries, 3): row, index in `error_names`, and number of failed attempts.
    """

    values: dict[str, list[Any]]
    codes: Integers
    counts: Integers
    bins: Integers
    errors: Integers
    error_names: list[str]

    def __len__(self) -> int:
        return len(self.codes)

    def column(self, name: str) -> Integers:
        """Return the column `name` of `COUNTS`."""
        return self.counts[:, COUNTS.index(name)]

    def labels(self, dimension: str) -> list[Any]:
        """Return the value of each row in a dimension."""
        values = self.values[dimension]
        return [values[code] for code in self.codes[:, DIMENSIONS.index(dimension)].tolist()]

    def group(self, dimensions: Sequence[str]) -> UsageTable:
        """Return the table with one row for each combination of these dimensions. The other dimensions become None."""
        import numpy as np

        kept = [DIMENSIONS.index(name) for name in dimensions]
        sizes = tuple(max(len(self.values[name]), 1) for name in dimensions)
        key = np.ravel_multi_index(tuple(self.codes[:, kept].T), sizes) if kept else np.zeros(len(self), dtype=np.int64)
        _, first, row = np.unique(key, return_index=True, return_inverse=True)
        codes = np.zeros((len(first), len(DIMENSIONS)), dtype=np.int64)
        codes[:, kept] = self.codes[first][:, kept]
        return UsageTable(
            values={name: self.values[name] if name in dimensions else [None] for name in DIMENSIONS},
            codes=codes,
            counts=_sum_rows(self.counts, row, len(first)),
            bins=_sum_entries(self.bins, row, len(first), BINS),
            errors=_sum_entries(self.errors, row, len(first), max(len(self.error_names), 1)),
            error_names=self.error_names,
        )

    def select(self, places: Sequence[int]) -> UsageTable:
        """Return the rows at these places, in ascending order."""
        import numpy as np

        new = np.full(len(self), -1, dtype=np.int64)
        new[places] = np.arange(len(places))

        def entries(old: Integers) -> Integers:
            kept = old[new[old[:, 0]] >= 0]
            kept[:, 0] = new[kept[:, 0]]
            return kept

        rows = np.array(places, dtype=np.int64)
        return replace(self, codes=self.codes[rows], counts=self.counts[rows], bins=entries(self.bins), errors=entries(self.errors))

    def percentiles(self, part: float) -> list[float | None]:
        """Return the nearest-rank percentile of the times to first token of each row, in ms; None without answers.

        The table must come from `group`, which sorts the histogram.
        """
        import numpy as np

        answers = np.bincount(self.bins[:, 0], weights=self.bins[:, 2], minlength=len(self)).astype(np.int64)
        ends = np.cumsum(answers)
        rank = np.minimum((part * answers).astype(np.int64), answers - 1)
        places = np.searchsorted(np.cumsum(self.bins[:, 2]), ends - answers + rank, side="right")
        return [
            milliseconds_of(int(self.bins[place, 1])) if count else None
            for place, count in zip(places.tolist(), answers.tolist(), strict=True)
        ]

    def stored_histograms(self) -> list[bytes]:
        """Return the histogram of each row in its stored form. The table must come from `group`."""
        import numpy as np

        entries = np.empty(len(self.bins), dtype=ENTRY)
        entries["bin"], entries["count"] = self.bins[:, 1], self.bins[:, 2]
        raw, size = entries.tobytes(), entries.itemsize
        ends = np.cumsum(np.bincount(self.bins[:, 0], minlength=len(self))).tolist()
        return [raw[start * size : end * size] for start, end in zip([0, *ends], ends, strict=False)]

    def stored_errors(self) -> list[str]:
        """Return the errors of each row in their stored form, a JSON object of class to count."""
        found: dict[int, dict[str, int]] = {}
        for row, error, count in self.errors.tolist():
            found.setdefault(row, {})[self.error_names[error]] = count
        return [json.dumps(found[row]) if row in found else "{}" for row in range(len(self))]


def cost_of(units: int, priced: int) -> Decimal | None:
    """Return a cost from its columns; None if no attempt has a known cost."""
    return units * COST_UNIT if priced else None


def from_sums(rows: Sequence[Sequence[Any]]) -> UsageTable:
    """Return stored sums as a table.

    Args:
        rows: the values of `DIMENSIONS`, those of `COUNTS` up to the estimated tokens, the cost or None, the stored histogram, and the
            stored errors.
    """
    import numpy as np

    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * (len(DIMENSIONS) + len(COUNTS) + 1)
    dimensions, rest = columns[: len(DIMENSIONS)], columns[len(DIMENSIONS) :]
    values, codes = _encode(dimensions)
    *counts, costs, histograms, errors = rest
    money = np.array(costs, dtype=np.float64)  # None becomes NaN
    priced = ~np.isnan(money)
    units = np.rint(np.nan_to_num(money) * 1e8)
    blobs = [bytes(blob) for blob in histograms]
    entries = np.frombuffer(b"".join(blobs), dtype=ENTRY)
    owner = np.repeat(np.arange(len(rows)), [len(blob) // entries.itemsize for blob in blobs])
    names: dict[str, int] = {}
    failures = [
        (row, names.setdefault(name, len(names)), count)
        for row, text in enumerate(errors)
        if text != "{}"
        for name, count in _error_counts(text)
    ]
    return UsageTable(
        values=values,
        codes=codes,
        counts=_integers([*counts, units, priced], len(COUNTS)),
        bins=np.column_stack([owner, entries["bin"].astype(np.int64), entries["count"].astype(np.int64)]),
        errors=np.array(failures, dtype=np.int64).reshape(-1, 3),
        error_names=list(names),
    )


@lru_cache(maxsize=10_000)
def _error_counts(text: str) -> tuple[tuple[str, int], ...]:
    """Return stored errors as pairs. Cached, because few texts are different: most hours and days have few failures."""
    return tuple(json.loads(text).items())


def from_attempts(dimensions: Sequence[Sequence[Any]], measures: Sequence[Sequence[Any]], last: Sequence[bool]) -> UsageTable:
    """Return attempts as a table with a row for each.

    Args:
        dimensions: the columns of `DIMENSIONS`.
        measures: the columns outcome, error, time to first token in ms or None, prompt tokens, completion tokens, whether the tokens are
            estimates, and cost or None.
        last: whether each attempt is the last of its request.
    """
    import numpy as np

    values, codes = _encode(dimensions)
    outcomes, errors, first_tokens, prompts, completions, estimates, costs = measures
    failed = [outcome == "failed" for outcome in outcomes]
    estimated = [prompt + completion if guess else 0 for prompt, completion, guess in zip(prompts, completions, estimates, strict=True)]
    units = [0 if cost is None else round(float(cost) * 1e8) for cost in costs]
    counts = [last, [1] * len(failed), failed, prompts, completions, estimated, units, [cost is not None for cost in costs]]
    times = np.array(first_tokens, dtype=np.float64)
    answered = np.flatnonzero(~np.isnan(times) & ~np.array(failed, dtype=bool))
    names: dict[str, int] = {}
    failures = [(row, names.setdefault(errors[row], len(names)), 1) for row, bad in enumerate(failed) if bad]
    return UsageTable(
        values=values,
        codes=codes,
        counts=_integers(counts, len(COUNTS)),
        bins=np.column_stack([answered, bins_of(times[answered]), np.ones_like(answered)]),
        errors=np.array(failures, dtype=np.int64).reshape(-1, 3),
        error_names=list(names),
    )


def concatenate(tables: Iterable[UsageTable]) -> UsageTable:
    """Return one table with the rows of all of them."""
    import numpy as np

    known: dict[str, dict[Any, int]] = {name: {} for name in DIMENSIONS}
    names: dict[str, int] = {}
    codes, counts, bins, errors, offset = [], [], [], [], 0
    for table in tables:
        codes.append(np.column_stack([_translate(table.values[name], column, known[name]) for name, column in _columns(table)]))
        counts.append(table.counts)
        bins.append(np.add(table.bins, [offset, 0, 0]))
        failures = np.add(table.errors, [offset, 0, 0])
        failures[:, 1] = _translate(table.error_names, table.errors[:, 1], names)
        errors.append(failures)
        offset += len(table)
    return UsageTable(
        values={name: list(index) for name, index in known.items()},
        codes=np.concatenate(codes),
        counts=np.concatenate(counts),
        bins=np.concatenate(bins),
        errors=np.concatenate(errors),
        error_names=list(names),
    )


def _columns(table: UsageTable) -> Iterable[tuple[str, Integers]]:
    return zip(DIMENSIONS, table.codes.T, strict=True)


def _translate(values: Sequence[Any], codes: Integers, index: dict[Any, int]) -> Integers:
    """Return codes of `values` as codes of `index`, which grows."""
    import numpy as np

    return np.array([index.setdefault(value, len(index)) for value in values] or [0], dtype=np.int64)[codes]


def _encode(columns: Sequence[Sequence[Any]]) -> tuple[dict[str, list[Any]], Integers]:
    """Return the distinct values of the dimensions, and the rows as codes."""
    import numpy as np

    values: dict[str, list[Any]] = {}
    codes = []
    for name, column in zip(DIMENSIONS, columns, strict=True):
        index: dict[Any, int] = {}
        codes.append(np.array([index.setdefault(value, len(index)) for value in column], dtype=np.int64))
        values[name] = list(index)
    return values, np.column_stack(codes)


def _integers(columns: Sequence[Any], width: int) -> Integers:
    """Return columns of whole numbers as an array of (rows, width)."""
    import numpy as np

    return np.column_stack([np.array(column, dtype=np.int64) for column in columns]).reshape(-1, width)


def _sum_rows(counts: Integers, row: Integers, rows: int) -> Integers:
    """Return the sums of the counts that belong to each new row. Integers, because floats are exact only up to 2**53."""
    import numpy as np

    if not len(counts):
        return counts
    order = np.argsort(row, kind="stable")
    starts = np.searchsorted(row[order], np.arange(rows))
    return np.add.reduceat(counts[order], starts, axis=0)


def _sum_entries(entries: Integers, row: Integers, rows: int, width: int) -> Integers:
    """Return sparse entries (row, place, count) for new rows, sorted and without duplicates."""
    import numpy as np

    key = row[entries[:, 0]] * width + entries[:, 1]
    if rows * width <= MAX_DENSE:
        dense = np.bincount(key, weights=entries[:, 2], minlength=1)
        places = np.flatnonzero(dense)
        sums = dense[places].astype(np.int64)
    else:
        places, inverse = np.unique(key, return_inverse=True)
        sums = np.bincount(inverse, weights=entries[:, 2], minlength=len(places)).astype(np.int64)
    return np.column_stack([places // width, places % width, sums])
