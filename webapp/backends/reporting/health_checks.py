"""Check backends, keys, and routes for `manage.py doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured

from webapp.backends.config import crypto, snapshot
from webapp.backends.config.snapshot import BackendRow, Snapshot
from webapp.backends.models import Backend
from webapp.backends.runtime import polling, registry
from webapp.core.findings import Finding, Level


def findings() -> Iterator[Finding]:
    """Yield findings about the encryption keys, each backend (asked for its models now), and each route."""
    try:
        crypto.fernet()
    except ImproperlyConfigured as error:
        yield Finding("error", "encryption keys", str(error), "Correct it: until then no stored API key can be read.")
        return
    known = snapshot.load()
    states = async_to_sync(_look)([row.id for row in known.backends.values() if not row.unusable])
    for row in known.backends.values():
        yield _backend(row, states.get(row.id))
    yield from _routes(known)


async def _look(ids: list[int]) -> dict[int, bool]:
    try:
        return {pk: await polling.look_at(pk) for pk in ids}
    finally:
        await registry.aclose()


def _backend(row: BackendRow, up: bool | None) -> Finding:  # noqa: FBT001 - three states of one check
    subject = f"backend {row.name}"
    if row.unusable:
        level: Level = "ok" if row.unusable == "it is disabled" else "warning"
        return Finding(level, subject, f"not used: {row.unusable}", "" if level == "ok" else "Open it in the admin.")
    stored = Backend.objects.select_related("health").get(pk=row.id)
    if stored.flagged:
        return Finding("error", subject, stored.flagged, "Enter its key again, or look at its account.")
    if not up:
        return Finding("warning", subject, f"down: {stored.health.why}", f"Start it, or correct its address ({row.base_url}).")
    return Finding("ok", subject, f"up, {len(row.models)} models")


def _routes(known: Snapshot) -> Iterator[Finding]:
    for route in known.routes.values():
        usable = [step for step in route.steps if not known.backends[step.backend].unusable]
        if route.enabled and not usable:
            yield Finding("warning", f"route {route.name}", "has no step that may be used", "Give it a step in the admin, or disable it.")
