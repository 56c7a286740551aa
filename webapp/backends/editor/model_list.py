"""List the models that can become steps of a route: a bounded number, because a backend may offer hundreds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from webapp.backends.models import Backend, BackendModel
from webapp.backends.reporting import status

MOST: Final = 60


@dataclass(frozen=True, slots=True)
class BackendModels:
    """A backend with the models that were found, and its state in words."""

    backend: Backend
    badge: str
    word: str
    models: tuple[BackendModel, ...]


def find(words: str, backend: str) -> dict[str, Any]:
    """Return the context of `backends/_models.html`.

    Args:
        words: words that a model's name must contain.
        backend: the name of a backend; empty for all.
    """
    rows = BackendModel.objects.filter(backend__enabled=True).order_by("backend__position", "backend__name", "name")
    if backend:
        rows = rows.filter(backend__name=backend)
    for word in words.split()[:10]:
        rows = rows.filter(name__icontains=word)
    found = list(rows[: MOST + 1])
    listed = {pk: tuple(models) for pk, models in groupby(found[:MOST], key=lambda row: row.backend_id)}
    empty = Backend.objects.filter(enabled=True, offered=None, **({"name": backend} if backend else {})) if not words.strip() else ()
    wanted = [*listed, *(row.pk for row in empty)][:MOST]
    known = Backend.objects.select_related("health").in_bulk(wanted)
    coolings = status.coolings()
    groups = []
    for pk in wanted:
        state, _why = status.state_of(known[pk], coolings.get(known[pk].name, ()))
        groups.append(BackendModels(known[pk], status.BADGES[state], str(status.WORDS[state]), listed.get(pk, ())))
    exact = any(row.name == words.strip() for row in found)
    return {
        "groups": groups,
        "more": rows.count() - MOST if len(found) > MOST else 0,
        "words": words.strip(),
        "by_name": backend if words.strip() and not exact and " " not in words.strip() else "",
    }
