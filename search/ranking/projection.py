"""Draw a map of a collection: its passages in a plane, along the two directions of largest variance of their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.index import engine
from search.models import Chunk, Collection

MAX_POINTS = 1500
WIDTH, HEIGHT, MARGIN = 1000, 620, 24
COLORS = 8
BASIS, ITERATIONS = 10, 8
LABELS, LABEL_CHARS, LABEL_CHAR_WIDTH, LABEL_HEIGHT = 12, 32, 8, 18


@dataclass(frozen=True, slots=True)
class Point:
    """A passage at x, y of the drawing, in its document's color."""

    chunk: Chunk
    x: float
    y: float
    color: int


@dataclass(frozen=True, slots=True)
class Label:
    """A document's name at the center of its passages."""

    text: str
    x: float
    y: float
    color: int


@dataclass(frozen=True, slots=True)
class Map:
    """Hold the points and labels of a drawn map, in pixels."""

    points: list[Point]
    labels: list[Label]
    total: int
    width: int = WIDTH
    height: int = HEIGHT


def draw(collection: Collection) -> Map:
    """Return the map. Of a collection with more than MAX_POINTS passages, it shows a regular sample."""
    ready = Chunk.objects.filter(collection=collection, document__state="ready").order_by("pk")
    total = ready.count()
    step = max(1, -(-total // MAX_POINTS))
    ids = list(ready.values_list("pk", flat=True))[::step]
    vectors = engine().vectors(collection.serving, ids) if collection.serving else {}
    chunks = list(ready.filter(pk__in=list(vectors)).select_related("document").defer("document__text"))
    if len(chunks) < 3:
        return Map([], [], total)
    colors = {pk: number % COLORS for number, pk in enumerate(dict.fromkeys(chunk.document_id for chunk in chunks))}
    places = _plane([vectors[chunk.pk] for chunk in chunks])
    points = [Point(chunk, x, y, colors[chunk.document_id]) for chunk, (x, y) in zip(chunks, places, strict=True)]
    return Map(points, _labels(points), total)


def _plane(vectors: Sequence[object]) -> list[tuple[float, float]]:
    """Return the first two principal components, scaled to the drawing. The outermost hundredth is drawn at the edge.

    Subspace iteration finds them: decomposing the covariance of thousands of dimensions takes a minute.
    """
    import numpy as np

    matrix = np.array(vectors, np.float32)
    matrix -= matrix.mean(axis=0)
    basis = np.random.default_rng(0).standard_normal((matrix.shape[1], min(BASIS, *matrix.shape)), np.float32)
    for _ in range(ITERATIONS):
        basis, _triangle = np.linalg.qr(matrix.T @ (matrix @ basis))
    flat = matrix @ basis
    flat = flat @ np.linalg.svd(flat, full_matrices=False)[2][:2].T
    low, high = np.percentile(flat, [1, 99], axis=0)
    unit = np.clip((flat - low) / np.maximum(high - low, 1e-6), 0, 1)
    x = MARGIN + unit[:, 0] * (WIDTH - 2 * MARGIN)
    y = MARGIN + unit[:, 1] * (HEIGHT - 2 * MARGIN)
    return list(zip(np.round(x, 1).tolist(), np.round(y, 1).tolist(), strict=True))


def _labels(points: Sequence[Point]) -> list[Label]:
    by_document: dict[object, list[Point]] = {}
    for point in points:
        by_document.setdefault(point.chunk.document_id, []).append(point)
    labels: list[Label] = []
    for group in sorted(by_document.values(), key=len, reverse=True):
        name = group[0].chunk.document.name
        text = name if len(name) <= LABEL_CHARS else "…" + name[1 - LABEL_CHARS :]
        half = len(text) / 2 * LABEL_CHAR_WIDTH  # a label stays inside of the drawing
        x = min(max(sum(point.x for point in group) / len(group), half), WIDTH - half)
        label = Label(text, round(x, 1), round(sum(point.y for point in group) / len(group), 1), group[0].color)
        if not any(_overlap(label, other) for other in labels):
            labels.append(label)
    return labels[:LABELS]


def _overlap(one: Label, other: Label) -> bool:
    apart = (len(one.text) + len(other.text)) / 2 * LABEL_CHAR_WIDTH
    return abs(one.y - other.y) < LABEL_HEIGHT and abs(one.x - other.x) < apart
