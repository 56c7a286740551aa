"""Discovery: the models that a backend offers, as it lists them itself, and the address that its administrator meant."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.core.exceptions import ValidationError
from django.db import transaction

from webapp.backends.config.addresses import alternatives, deployment_in, has_no_path, validate_base_url
from webapp.backends.config.presets import preset_for
from webapp.backends.models import Backend
from webapp.backends.runtime import connection_pools, registry
from webapp.backends.services.configuration import add_model
from webapp.core.database import in_database
from webapp.patterns.errors import BackendError, BadAnswer, ModelMissing, PathMissing, PatternError
from webapp.patterns.types import ModelInfo

DISCOVERY_SECONDS = 10.0
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Discovery:
    """The changes that a refresh of a backend's models made, or the reason why there were none.

    `corrected` is the base URL under which the server answers, where it is not the one that was typed.
    """

    added: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    total: int = 0
    problem: str = ""
    corrected: str = ""


async def discover(backend: Backend) -> Discovery:
    """Ask the backend for its models and keep them; a backend that does not answer keeps the models it has.

    Where nothing answers at its address, the addresses that people mean by it are tried, and the one that answers is kept.
    """
    try:
        async with asyncio.timeout(DISCOVERY_SECONDS):
            infos = await (await registry.backend(backend.pk)).models()
        # llama.cpp lists its models at /models, too, but its /completions and /embeddings have formats of their own: /v1 is meant.
        if has_no_path(backend.base_url) and (moved := await _corrected(backend)):
            return moved
        found: Discovery = await in_database(_keep_models, backend, infos)
    except TimeoutError:
        return Discovery(problem=f"no answer within {DISCOVERY_SECONDS:.0f} s")
    except PatternError as error:
        if isinstance(error, PathMissing | ModelMissing | BadAnswer):
            return await _corrected(backend) or await _deployment(backend) or Discovery(problem=_advice(error, backend))
        return Discovery(problem=error.message)
    return found


def _advice(error: PatternError, backend: Backend) -> str:
    return f"{error.message} There is no list of models at {backend.base_url}/models: is the base URL right? Most end in /v1."


async def _corrected(backend: Backend) -> Discovery | None:
    """Look for the server at the addresses that people mean by the one they typed; None where none answers."""
    row = (await registry.current().snapshot()).backends.get(backend.pk)
    for url in alternatives(backend.base_url) if row and row.preset != "builtin" else ():
        try:
            validate_base_url(url)
        except ValidationError:
            continue
        assert row is not None
        candidate = connection_pools.build(replace(row, base_url=url))
        try:
            async with asyncio.timeout(DISCOVERY_SECONDS / 2):
                infos = await candidate.models()
        except (BackendError, TimeoutError):
            continue  # the next address may be the right one; the first problem is the one to tell
        finally:
            await candidate.aclose()
        if infos:
            await in_database(_move, backend, url)
            return replace(await in_database(_keep_models, backend, infos), corrected=url)
    return None


def _move(backend: Backend, url: str) -> None:
    backend.base_url = url
    backend.preset = backend.preset if backend.preset != "custom" else preset_for(url)
    backend.save(update_fields=["base_url", "preset", "updated_at"])


async def _deployment(backend: Backend) -> Discovery | None:
    """Take the deployment in an Azure address as its model: such an address lists none."""
    name = deployment_in(backend.base_url)
    if not name:
        return None
    await in_database(add_model, backend=backend, name=name)
    return Discovery(added=(name,), total=1)


@transaction.atomic
def _keep_models(backend: Backend, infos: Sequence[ModelInfo]) -> Discovery:
    """Keep a list of models. Models that were entered by hand stay; discovered ones that are no longer listed go."""
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
