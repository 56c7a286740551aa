"""Measure search: a query over 100,000 passages, vectors against faiss, a million vectors, embedding against sentence-transformers.

python -m bench search [--passages 100000] [--million] [--only query|vectors|embedding]

faiss-cpu and sentence-transformers are used if they are installed. Neither is in the locks.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

DIMENSION = 384
WORDS = 20_000
TARGET_MS = 20.0
Matrix = Any


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench search")
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--million", action="store_true", help="the vector part at 1,000,000 × 384 too: 1.5 GB of disk")
    parser.add_argument("--only", choices=["query", "vectors", "embedding"])
    options = parser.parse_args()
    if options.only in {None, "vectors"}:
        vectors(options.passages)
        if options.million:
            vectors(1_000_000)
    if options.only in {None, "embedding"}:
        embedding()
    if options.only in {None, "query"}:
        with tempfile.TemporaryDirectory() as home:
            query(options.passages, home)


def timed(run: Callable[[], object], times: int = 30) -> float:
    """Return the median of `times` runs, in ms."""
    run()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append((time.perf_counter() - began) * 1000)
    return median(taken)


def clustered(count: int) -> Matrix:
    """Return (count, 384) vectors of length one, in clusters of unequal size like those of texts."""
    rng = np.random.default_rng(3)
    centers = rng.standard_normal((500, DIMENSION), np.float32)
    matrix = np.empty((count, DIMENSION), np.float32)
    for start in range(0, count, 50_000):
        size = min(50_000, count - start)
        matrix[start : start + size] = centers[rng.zipf(1.3, size) % 500] + 0.9 * rng.standard_normal((size, DIMENSION), np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix


def vectors(count: int) -> None:
    """Compare the index's ten nearest, memory-mapped, with faiss's flat index."""
    from search.index.vector_files import VectorFiles

    matrix = clustered(count)
    queries = clustered(60)[20:] + 0.02
    with tempfile.TemporaryDirectory() as folder:
        files = VectorFiles(Path(folder) / "bench", DIMENSION)
        for start in range(0, count, 50_000):
            part = matrix[start : start + 50_000]
            files.write(start, range(start + 1, start + 1 + len(part)), part)
        turn = iter(range(10_000))
        ours = timed(lambda: files.nearest(count, queries[next(turn) % 40], 10, None))
        exact = [set(np.argpartition(matrix @ q, count - 10)[count - 10 :].tolist()) for q in queries]
        recall = sum(len(e & set(files.nearest(count, q, 10, None).indices.tolist())) for e, q in zip(exact, queries, strict=True)) / 400
    print(f"{count:>9,} × {DIMENSION}: ten nearest in {ours:.1f} ms, recall@10 {recall:.3f}")
    if importlib.util.find_spec("faiss"):
        import faiss

        flat = faiss.IndexFlatIP(DIMENSION)
        flat.add(matrix)
        theirs = timed(lambda: flat.search(queries[next(turn) % 40][None], 10))
        print(f"{'':9} faiss flat {theirs:.1f} ms: ours takes {ours / theirs:.2f} times as long (target 1.5)")
    else:
        print(f"{'':9} faiss-cpu is not installed: no ratio")


def embedding() -> None:
    """Measure tokens per second of passages of about 200 tokens, and the time of one query."""
    from webapp.builtin import EMBEDDING_MODELS
    from webapp.builtin.embedding import minilm
    from webapp.builtin.embedding import model as load

    chosen = random.Random(1)
    known = [
        "the",
        "of",
        "model",
        "index",
        "vector",
        "query",
        "server",
        "returns",
        "error",
        "request",
        "token",
        "stream",
        "passes",
        "value",
        "function",
        "list",
        "key",
        "when",
        "file",
        "opens",
    ]
    texts = [" ".join(chosen.choices(known, k=chosen.randint(60, 180))) for _ in range(120)]
    for name in EMBEDDING_MODELS:
        model = load(name)
        tokens = model.embed(texts).tokens
        ours = tokens / timed(partial(model.embed, texts), 3) * 1000
        one = timed(partial(model.embed, ["how do I open a file and read its lines"]))
        print(f"{name}: {ours:,.0f} tokens/s; one query {one:.1f} ms")
    if importlib.util.find_spec("sentence_transformers"):
        from sentence_transformers import SentenceTransformer

        torch = SentenceTransformer(str(minilm.folder()), device="cpu")
        theirs = tokens / timed(lambda: torch.encode(texts), 3) * 1000
        their_one = timed(lambda: torch.encode(["how do I open a file and read its lines"]))
        print(f"           sentence-transformers {theirs:,.0f} tokens/s, {their_one:.1f} ms: ours takes {theirs / ours:.2f} times as long")
    else:
        print("           sentence-transformers is not installed: no ratio")


def query(count: int, home: str) -> None:
    """Measure complete queries through `search.ranking.query`: the vector of the query, both rankings, the passages."""
    os.environ |= {"PATCHBAY_HOME": home, "PATCHBAY_DETECT": "0", "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    import django

    django.setup()
    from django.core.management import call_command

    from webapp.backends.services import seeding

    call_command("migrate", verbosity=0)
    seeding.seed()
    user = _fill(count)
    hybrid, semantic, keyword = asyncio.run(_ask(user))
    print(f"{count:>9,} passages: query {hybrid[0]:.1f} ms, 90th percentile {hybrid[1]:.1f} ms (target {TARGET_MS:.0f})")
    print(f"{'':9} by meaning alone {semantic[0]:.1f} ms, by words alone {keyword[0]:.1f} ms")


def _fill(count: int) -> Any:
    from search import services
    from search.index import engine
    from search.models import Chunk, Document, scope
    from webapp.accounts.models import User
    from webapp.builtin import default_embedding_model

    user = User.objects.create_user("bench")
    collection = services.create_collection(owner=user, name="Bench")
    assert collection.serving
    document = Document.objects.create(collection=collection, name="bench", state="ready")
    chosen = random.Random(5)
    vocabulary = [f"{chosen.choice('bcdfglmnprstv')}{chosen.choice('aeiou')}{number:x}" for number in range(WORDS)]
    weights = [1 / (rank + 10) for rank in range(WORDS)]
    matrix = clustered(count)
    fixed = {"document": document, "collection": collection, "scope": scope(collection.pk), "start": 0, "end": 1, "tokens": 1}
    for start in range(0, count, 10_000):
        size = min(10_000, count - start)
        drawn = chosen.choices(vocabulary, weights, k=size * 60)
        texts = (" ".join(drawn[number * 60 : number * 60 + 60]) for number in range(size))
        chunks = [Chunk(text=text, **fixed) for text in texts]
        for chunk in chunks:
            chunk.set_words()
        made = Chunk.objects.bulk_create(chunks, batch_size=1000)
        engine().add(collection.serving, [chunk.pk for chunk in made], matrix[start : start + size])
    type(collection.serving).objects.update(answered_by=default_embedding_model().name)
    return user


async def _ask(user: Any) -> list[tuple[float, float]]:
    from search.ranking import query as searching
    from search.ranking.query import MODES
    from webapp.backends.runtime import registry

    results = []
    chosen = random.Random(9)
    for mode in MODES:
        taken = []
        for number in range(40):
            words = " ".join(f"{chosen.choice('bcdfglmnprstv')}{chosen.choice('aeiou')}{chosen.randint(0, 3000):x}" for _ in range(6))
            found = await searching.search(user, f"{words} {number} ", mode=mode)
            taken.append(found.milliseconds)
        results.append((median(taken[5:]), quantiles(taken[5:], n=10)[-1]))
    await registry.aclose()
    return results


if __name__ == "__main__":
    main()
