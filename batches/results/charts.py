"""Compute charts as numbers that a template draws into SVG: polylines in a fixed view box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batches.selectors import Bucket

WIDTH, HEIGHT = 600, 96


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart. `points` and `area` are in units of the view box."""

    name: str
    kind: str
    points: str
    area: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. `summary` describes it in words."""

    title: str
    unit: str
    top: float
    lines: list[Line]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT


def charts(buckets: Sequence[Bucket]) -> list[Chart]:
    """Return throughput with errors, and latency, over the batch's time; an empty list for fewer than two points."""
    if len(buckets) < 2:
        return []
    done = [bucket.ok + bucket.failed for bucket in buckets]
    failed = [bucket.failed for bucket in buckets]
    mean, slowest = [bucket.mean_ms for bucket in buckets], [bucket.max_ms for bucket in buckets]
    return [
        _chart("Throughput", "rows/s", [("finished", "run", done), ("failed", "bad", failed)]),
        _chart("Latency", "ms", [("slowest", "muted", slowest), ("mean", "run", mean)]),
    ]


def _chart(title: str, unit: str, series: Sequence[tuple[str, str, Sequence[float]]]) -> Chart:
    top = _nice(max(max(values) for _, _, values in series))
    lines = [_line(name, kind, values, top) for name, kind, values in series]
    latest = ", ".join(f"{name} {values[-1]:.1f}" for name, _, values in series)
    return Chart(title, unit, top, lines, f"{title} in {unit} over time; at the end {latest}.")


def _line(name: str, kind: str, values: Sequence[float], top: float) -> Line:
    step = WIDTH / (len(values) - 1)
    points = " ".join(f"{number * step:.1f},{HEIGHT - value / top * HEIGHT:.1f}" for number, value in enumerate(values))
    return Line(name, kind, points, f"0,{HEIGHT} {points} {WIDTH},{HEIGHT}")


def _nice(value: float) -> float:
    """Return the next of 1, 2, 5, 10, … above a value, so that the scale is readable and stable during a run."""
    size = 1.0
    while value > size * 10:
        size *= 10
    while value < size and size > 0.01:
        size /= 10
    return next((size * step for step in (1, 2, 5, 10) if value <= size * step), size * 10)
