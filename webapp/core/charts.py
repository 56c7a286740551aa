"""Compute the geometry of charts, which templates draw as inline SVG. Colors and fonts come from the CSS."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 640, 180
LEFT, RIGHT, TOP, BOTTOM = 48, 8, 8, 22
MAX_X_LABELS = 7


@dataclass(frozen=True, slots=True)
class Rect:
    """A bar, in pixels. `title` is its tooltip."""

    x: float
    y: float
    width: float
    height: float
    series: int
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """A polyline with gaps: each run of known values is one list of points, and a single point becomes a dot."""

    series: int
    name: str
    runs: tuple[str, ...]
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """A label at a position on an axis, in pixels."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart for `components/_chart.html`. `names` is the legend, by series number."""

    title: str
    names: tuple[str, ...]
    bars: tuple[Rect, ...] = ()
    lines: tuple[Line, ...] = ()
    y_ticks: tuple[Tick, ...] = ()
    x_ticks: tuple[Tick, ...] = ()
    empty: bool = False
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = field(default=WIDTH - RIGHT)
    base: int = field(default=HEIGHT - BOTTOM)


Format = Callable[[float], str]


def short(value: float) -> str:
    """Format a number for an axis: 1.2k, 3M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def seconds(ms: float) -> str:
    """Format milliseconds for an axis."""
    return f"{ms:.3g} ms" if ms < 1000 else f"{ms / 1000:.3g} s"


def top_of(values: Sequence[float]) -> float:
    """Return the round number at or above the largest value, where the axis ends."""
    largest = max(values, default=0)
    if largest <= 0:
        return 1.0
    size = 10 ** math.floor(math.log10(largest))
    return float(next(step * size for step in (1, 2, 2.5, 5, 10) if step * size >= largest * 0.999999))


def bars(title: str, labels: Sequence[str], names: Sequence[str], values: Sequence[Sequence[float]], unit: Format = short) -> Chart:
    """Stacked bars: `values[i]` are the parts of the bar at `labels[i]`, in the order of `names`."""
    top = top_of([sum(parts) for parts in values])
    slot = (WIDTH - LEFT - RIGHT) / max(len(values), 1)
    drawn: list[Rect] = []
    for index, parts in enumerate(values):
        below = 0.0
        for series, part in enumerate(parts):
            height = _scaled(part, top)
            if part > 0:
                y = HEIGHT - BOTTOM - below - height
                text = f"{labels[index]}: {unit(part)} {names[series]}"
                x = LEFT + slot * (index + 0.12)
                drawn.append(Rect(round(x, 1), round(y, 1), round(slot * 0.76, 1), round(height, 1), series, text))
            below += height
    return Chart(title, tuple(names), bars=tuple(drawn), y_ticks=_y_ticks(top, unit), x_ticks=_x_ticks(labels, slot), empty=not drawn)


def lines(title: str, labels: Sequence[str], names: Sequence[str], values: Sequence[Sequence[float | None]], unit: Format = short) -> Chart:
    """Lines: `values[s][i]` is the value of series `s` at `labels[i]`, None where it is unknown."""
    known = [value for series in values for value in series if value is not None]
    top = top_of(known)
    slot = (WIDTH - LEFT - RIGHT) / max(len(labels), 1)
    drawn = tuple(_line(number, names[number], series, top, slot) for number, series in enumerate(values))
    return Chart(title, tuple(names), lines=drawn, y_ticks=_y_ticks(top, unit), x_ticks=_x_ticks(labels, slot), empty=not known)


def _line(number: int, name: str, values: Sequence[float | None], top: float, slot: float) -> Line:
    runs: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((round(LEFT + slot * (index + 0.5), 1), round(HEIGHT - BOTTOM - _scaled(value, top), 1)))
    paths = tuple(" ".join(f"{x},{y}" for x, y in run) for run in runs if len(run) > 1)
    return Line(number, name, paths, tuple(run[0] for run in runs if len(run) == 1))


def _scaled(value: float, top: float) -> float:
    return (HEIGHT - TOP - BOTTOM) * value / top


def _y_ticks(top: float, unit: Format) -> tuple[Tick, ...]:
    return tuple(Tick(round(HEIGHT - BOTTOM - _scaled(top * part, top), 1), unit(top * part)) for part in (0, 0.5, 1))


def _x_ticks(labels: Sequence[str], slot: float) -> tuple[Tick, ...]:
    every = max(math.ceil(len(labels) / MAX_X_LABELS), 1)
    return tuple(Tick(round(LEFT + slot * (i + 0.5), 1), labels[i]) for i in range(0, len(labels), every))


def spark(values: Sequence[tuple[int, int]], *, width: int = 96, height: int = 20) -> tuple[Rect, ...]:
    """Return a word-sized chart of (good, bad) counts per slot. Series 0 is stacked on series 1."""
    top = max((good + bad for good, bad in values), default=0) or 1
    slot = width / max(len(values), 1)
    drawn: list[Rect] = []
    for index, (good, bad) in enumerate(values):
        low, high = height * bad / top, height * good / top
        if bad:
            drawn.append(Rect(round(slot * index, 1), round(height - low, 1), round(slot * 0.8, 1), round(low, 1), 1, ""))
        if good:
            drawn.append(Rect(round(slot * index, 1), round(height - low - high, 1), round(slot * 0.8, 1), round(high, 1), 0, ""))
    return tuple(drawn)
