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

LACK_OBSERVATIONS = 2
"""Refusals of different questions before the chat stops asking for an ability: one may have another reason."""
calibration = Calibration()
"""What this process knows of how servers count, by (backend, model)."""
_lacks: set[tuple[str, str, str]] = set()
"""The abilities that models lack: (backend, model, ability)."""
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


def record_lack(*, backend: str, model: str, ability: str, why: str) -> None:
    """Count a question that a model refused with an ability and answered without it."""
    row = Backend.objects.filter(name=backend).first()
    if row is None or row.learned.count() >= MAX_FACTS:
        return
    of = {"backend": row, "model": storable(model)[:200], "kind": Learned.Kind.LACK, "name": ability}
    fact, created = Learned.objects.get_or_create(**of, defaults={"why": storable(why)[:500], "last_seen_at": timezone.now()})
    if not created:
        fact.observations += 1
        fact.last_seen_at = timezone.now()
        fact.save()
    logger.info("A model of backend %s answers only without %s", backend, ability)


def lacks(backend: str, model: str, ability: str) -> bool:
    """Return whether a model was found often enough to lack an ability."""
    return (backend, model, ability) in _lacks


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
    _lacks.clear()
    for fact in facts:
        if fact.kind == Learned.Kind.LACK and fact.observations >= LACK_OBSERVATIONS:
            _lacks.add((fact.backend, fact.model, fact.name))
        if fact.kind in {Learned.Kind.REPAIR, Learned.Kind.LACK}:
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
        if row.kind in {Learned.Kind.WINDOW, Learned.Kind.COUNT}:
            calibration.forget((backend.name, row.model))
        _lacks.discard((backend.name, row.model, row.name))
    return len(found)
