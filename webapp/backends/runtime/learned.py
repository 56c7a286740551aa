"""Facts that answers showed about models: stored, shared by all processes, shown on the backend's page, forgotten there."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from django.db import transaction
from django.utils import timezone

from webapp.backends.config.snapshot import Fact
from webapp.backends.models import Backend, Learned
from webapp.core.database import in_database
from webapp.patterns.context.calibration import Calibration, Reading
from webapp.patterns.sanitize import text as storable

logger = logging.getLogger("patchbay.backends")
MAX_FACTS = 2000
"""Facts of one backend: a caller may make up model names."""

calibration = Calibration()
"""What this process knows of how servers count, by (backend, model)."""
_restored: set[tuple[str, str]] = set()
"""The keys that the stored facts named last."""


def record_repair(backend: int, model: str, name: str, why: str) -> None:
    """Store a repair that made a model take a request; every process applies it from its next look at the configuration on."""
    if not Backend.objects.filter(pk=backend).exists() or Learned.objects.filter(backend=backend).count() >= MAX_FACTS:
        return
    Learned.objects.update_or_create(
        backend_id=backend,
        model=storable(model)[:200],
        kind=Learned.Kind.REPAIR,
        name=storable(name)[:100],
        defaults={"why": storable(why)[:500], "last_seen_at": timezone.now()},
    )
    logger.info("A model of backend %s needs a repair of its requests: %s", backend, name)


async def save_readings() -> None:
    """Store what was learned about counting and windows since the last call."""
    changes = [(key, reading) for key, reading in calibration.take_changes() if isinstance(key, tuple)]
    if changes:
        await in_database(_save, changes)


@transaction.atomic
def _save(changes: Iterable[tuple[tuple[str, str], Reading]]) -> None:
    for (name, model), reading in changes:
        backend = Backend.objects.filter(name=name).first()
        if backend is None or len(model) > 200:
            continue
        _save_count(backend, model, reading)
        _save_window(backend, model, reading)


def _save_count(backend: Backend, model: str, reading: Reading) -> None:
    """Store the factor. No process needs to know at once, so nothing tells them."""
    values = {"value": reading.factor, "observations": reading.reports, "read_up_to": reading.read_up_to, "last_seen_at": timezone.now()}
    of = Learned.objects.filter(backend=backend, model=model, kind=Learned.Kind.COUNT, name="")
    if reading.reports and not of.update(**values) and backend.learned.count() < MAX_FACTS:
        Learned.objects.create(backend=backend, model=model, kind=Learned.Kind.COUNT, **values)


def _save_window(backend: Backend, model: str, reading: Reading) -> None:
    of = Learned.objects.filter(backend=backend, model=model, kind=Learned.Kind.WINDOW, name="")
    if reading.truncates_at is None:
        for row in of:
            row.delete()
        return
    longest = max((counted for counted, _ in reading.cuts), default=0)
    Learned.objects.update_or_create(
        backend=backend,
        model=model,
        kind=Learned.Kind.WINDOW,
        name="",
        defaults={
            "value": reading.truncates_at,
            "observations": len(reading.cuts),
            "read_up_to": reading.read_up_to,
            "why": f"It reported to have read at most {reading.read_up_to:,} tokens of prompts of up to {longest:,}.",
            "last_seen_at": datetime.fromtimestamp(reading.confirmed_at, UTC),
        },
    )


def adopt(facts: Iterable[Fact]) -> None:
    """Take over what is stored, and forget what is stored no longer."""
    readings: dict[tuple[str, str], Reading] = {}
    for fact in facts:
        if fact.kind == Learned.Kind.REPAIR:
            continue
        reading = readings.setdefault((fact.backend, fact.model), Reading())
        reading.read_up_to = max(reading.read_up_to, fact.read_up_to)
        if fact.kind == Learned.Kind.WINDOW and fact.value:
            reading.truncates_at, reading.confirmed_at = int(fact.value), fact.last_seen
        elif fact.value:
            reading.factor, reading.reports = fact.value, fact.observations
    for key in _restored - readings.keys():
        calibration.forget(key)
    for key, reading in readings.items():
        calibration.restore(key, reading)
    _restored.clear()
    _restored.update(readings)


def forget(*, backend: Backend, fact: int | None = None) -> int:
    """Forget one fact about a backend's models, or all; return how many that were."""
    rows = Learned.objects.filter(backend=backend, **({"pk": fact} if fact else {}))
    found = list(rows)
    for row in found:
        row.delete()  # one by one: each tells the registry
        if row.kind != Learned.Kind.REPAIR:
            calibration.forget((backend.name, row.model))
    return len(found)
