"""Compute what the page of a rollout shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from webapp.backends.models import MirrorSample, Rollout
from webapp.backends.rollouts import canary
from webapp.core import charts

NEWEST: Final = 1000
POINTS: Final = 40
"""Points of a line; each stands for neighboring samples."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison, as display text."""

    name: str
    stable: str
    candidate: str


@dataclass(frozen=True, slots=True)
class Figures:
    """The comparison, its charts, and the errors of the candidate with their counts. `samples` is the number of compared answers."""

    samples: int
    rows: list[Row]
    charts: list[charts.Chart]
    errors: list[tuple[str, int]]


def of(rollout: Rollout) -> Figures:
    """Return the figures of a rollout."""
    return _of_mirror(rollout) if rollout.kind == Rollout.Kind.MIRROR else _of_canary(rollout)


def _of_mirror(rollout: Rollout) -> Figures:
    samples = list(rollout.samples.all()[:NEWEST])[::-1]
    alike = [one.similarity for one in samples if one.similarity is not None]
    errors = Counter(one.error for one in samples if one.error)
    rows = [
        Row("Median latency", _time([one.stable_ms for one in samples]), _time([one.candidate_ms for one in samples])),
        Row("Median first token", _time([one.stable_first_ms for one in samples]), _time([one.candidate_first_ms for one in samples])),
        Row("Median tokens", _number([one.stable_tokens for one in samples]), _number([one.candidate_tokens for one in samples])),
        Row("Failed", "–", f"{sum(errors.values())} of {len(samples)}"),
        Row("Median similarity of the text", "–", f"{100 * median(alike):.0f} %" if alike else "–"),
    ]
    return Figures(len(samples), rows, _mirror_charts(samples, alike) if samples else [], errors.most_common())


def _mirror_charts(samples: Sequence[MirrorSample], alike: Sequence[float]) -> list[charts.Chart]:
    labels = [f"{one.created_at:%H:%M}" for one in samples[:: _step(samples)]]
    bins = Counter(min(int(value * 10), 9) for value in alike)
    return [
        charts.bars(
            "Similarity of the texts", [f"{10 * n}–{10 * n + 10} %" for n in range(10)], ("answers",), [(bins[n],) for n in range(10)]
        ),
        charts.lines("Latency", labels, ("route", "candidate"), _lines(samples, "stable_ms", "candidate_ms"), charts.seconds),
        charts.lines("Tokens of an answer", labels, ("route", "candidate"), _lines(samples, "stable_tokens", "candidate_tokens")),
        charts.bars("Answers of the candidate", labels, ("answered", "failed"), _outcomes(samples)),
    ]


def _step(samples: Sequence[MirrorSample]) -> int:
    return max(1, -(-len(samples) // POINTS))


def _lines(samples: Sequence[MirrorSample], *names: str) -> list[list[float | None]]:
    """Return a line for each column: the medians of neighboring samples."""
    step = _step(samples)
    groups = [samples[start : start + step] for start in range(0, len(samples), step)]
    return [[_median([getattr(one, name) for one in group]) for group in groups] for name in names]


def _outcomes(samples: Sequence[MirrorSample]) -> list[tuple[int, int]]:
    step = _step(samples)
    groups = [samples[start : start + step] for start in range(0, len(samples), step)]
    return [(sum(not one.error for one in group), sum(bool(one.error) for one in group)) for group in groups]


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _time(values: Sequence[float | None]) -> str:
    found = _median(values)
    return "–" if found is None else charts.seconds(found)


def _number(values: Sequence[int]) -> str:
    return f"{median(values):.0f}" if values else "–"


def _of_canary(rollout: Rollout) -> Figures:
    candidate, stable = canary.sides(rollout)
    rows = [
        Row("Attempts", f"{stable.attempts}", f"{candidate.attempts}"),
        Row("Failed", f"{stable.error_rate:.1f} %", f"{candidate.error_rate:.1f} %"),
        Row("Median latency", _time([stable.latency_ms]), _time([candidate.latency_ms])),
    ]
    both = (stable, candidate)
    drawn = [
        charts.bars("Attempts", ["route", "candidate"], ("answered", "failed"), [(one.attempts - one.failed, one.failed) for one in both]),
        charts.bars("Median latency", ["route", "candidate"], ("latency",), [(one.latency_ms or 0,) for one in both], charts.seconds),
    ]
    return Figures(candidate.attempts, rows, drawn if candidate.attempts or stable.attempts else [], [])
