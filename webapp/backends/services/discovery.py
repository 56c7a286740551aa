"""Discovery: what models a backend offers, as it lists them itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from webapp.backends.models import Backend
from webapp.backends.runtime import registry
from webapp.backends.services.configuration import add_model
from webapp.core.database import in_database
from webapp.patterns.errors import PatternError
from webapp.patterns.types import ModelInfo

DISCOVERY_SECONDS = 10.0
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a refresh of a backend's models changed, or why there was none."""

    added: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    total: int = 0
    problem: str = ""


async def discover(backend: Backend) -> Discovery:
    """Ask the backend for its models and keep what it lists; a backend that does not answer keeps what it has."""
    try:
        async with asyncio.timeout(DISCOVERY_SECONDS):
            infos = await (await registry.backend(backend.pk)).models()
    except TimeoutError:
        return Discovery(problem=f"no answer within {DISCOVERY_SECONDS:.0f} s")
    except PatternError as error:
        return Discovery(problem=error.message)
    return await in_database(_keep_models, backend, infos)


@transaction.atomic
def _keep_models(backend: Backend, infos: Sequence[ModelInfo]) -> Discovery:
    """Entered by hand stays; discovered and no longer listed goes."""
    known = {row.name: row for row in backend.offered.all()}
    listed = {info.id: info for info in infos if 0 < len(info.id) <= MAX_NAME}
    added = [name for name in listed if name not in known]
    gone = [row for name, row in known.items() if row.discovered and name not in listed]
    for name in added:
        add_model(backend=backend, name=name, context_window=listed[name].context_window, discovered=True)
    for name, row in known.items():
        window = listed[name].context_window if name in listed else None
        if row.discovered and window and row.context_window != window:
            row.context_window = window
            row.save(update_fields=["context_window"])
    for row in gone:
        row.delete()
    return Discovery(tuple(added), tuple(row.name for row in gone), len(listed))
