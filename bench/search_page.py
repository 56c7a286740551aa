"""Measure search as people type: whole requests for the results of each letter, over 100,000 passages of 5,000 documents.

python -m bench search_page [--passages 100000]

A request renders the results and the facets, and goes through all middleware. The network and the browser are left out.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from statistics import median, quantiles
from typing import Any

from bench.search import WORDS, clustered

DOCUMENTS = 5000
KINDS = ("pdf", "docx", "html", "text")
TAGS = ("law", "budget", "draft", "plan")
QUERIES = 4
TARGET_MS = 100.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench search_page")
    parser.add_argument("--passages", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"PATCHBAY_HOME": home, "PATCHBAY_DETECT": "0", "DJANGO_SETTINGS_MODULE": "webapp.settings"}
        import django

        django.setup()
        from django.conf import settings
        from django.core.management import call_command

        settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
        call_command("migrate", verbosity=0)
        measure(options.passages)


def measure(passages: int) -> None:
    """Print the times of the requests for each kind of search."""
    from django.test import Client

    vocabulary, user = fill(passages)
    client = Client(headers={"HX-Request": "true", "HX-Request-Type": "partial", "Host": "localhost"})
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    for label, filters in (("all documents", {}), ("kind and tag", {"kind": "pdf", "tag": "law"}), ("a date", {"since": "2020-01-01"})):
        times = typed(client, vocabulary, filters)
        wall, cpu = ([each[part] for each in times] for part in (0, 1))
        print(f"{passages:>9,} passages, {label}: median {median(wall):.1f} ms, 95th percentile {quantiles(wall, n=20)[-1]:.1f} ms", end="")
        print(f" (target {TARGET_MS:.0f}); of the processor {median(cpu):.1f} and {quantiles(cpu, n=20)[-1]:.1f} ms", flush=True)


def typed(client: Any, vocabulary: list[str], filters: dict[str, str]) -> list[tuple[float, float]]:
    """Return the time and the processor time, in ms, of each request while QUERIES queries of three words are typed."""
    chosen = random.Random(9)
    client.get("/search/", {"q": "warm up"})
    taken = []
    for _ in range(QUERIES):
        text = " ".join(chosen.choices(vocabulary[:3000], k=3))
        for end in range(2, len(text) + 1, 2):
            began, worked = time.perf_counter(), time.process_time()
            response = client.get("/search/", {"q": text[:end], **filters})
            taken.append(((time.perf_counter() - began) * 1000, (time.process_time() - worked) * 1000))
            assert response.status_code == 200
    return taken


def fill(passages: int) -> tuple[list[str], Any]:
    """Store passages with vectors, spread over DOCUMENTS documents; return the words and the owner."""
    from search import services
    from search.index import engine
    from search.models import Chunk, Document, Index, scope
    from webapp.accounts.models import User
    from webapp.backends.services import seeding
    from webapp.builtin import default_embedding_model

    seeding.seed()
    user = User.objects.create_user("bench")
    collection = services.create_collection(owner=user, name="Bench")
    assert collection.serving
    rows = [
        Document(collection=collection, name=f"{number}.md", kind=KINDS[number % 4], tags=[TAGS[number % 3]], state="ready")
        for number in range(DOCUMENTS)
    ]
    documents = Document.objects.bulk_create(rows, batch_size=500)
    chosen = random.Random(5)
    vocabulary = [f"{chosen.choice('bcdfglmnprstv')}{chosen.choice('aeiou')}{number:x}" for number in range(WORDS)]
    weights = [1 / (rank + 10) for rank in range(WORDS)]
    matrix = clustered(passages)
    fixed = {"collection": collection, "scope": scope(collection.pk), "start": 0, "end": 1, "tokens": 1}
    for start in range(0, passages, 10_000):
        size = min(10_000, passages - start)
        chunks = [
            Chunk(text=" ".join(chosen.choices(vocabulary, weights, k=60)), document=documents[(start + number) % DOCUMENTS], **fixed)
            for number in range(size)
        ]
        for chunk in chunks:
            chunk.set_words()
        made = Chunk.objects.bulk_create(chunks, batch_size=1000)
        engine().add(collection.serving, [chunk.pk for chunk in made], matrix[start : start + size])
    Index.objects.update(answered_by=default_embedding_model().name)
    return vocabulary, user


if __name__ == "__main__":
    main()
