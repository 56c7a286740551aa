"""Write the configuration: backends, their models, routes, keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model
from django.utils.translation import gettext as _

from webapp.backends.config.addresses import clean_base_url
from webapp.backends.config.crypto import KeyLost, Secret, SecretField
from webapp.backends.config.presets import PRESETS, preset_for
from webapp.backends.models import Backend, BackendModel, Route, RouteStep
from webapp.backends.runtime import cooldowns

NOT_CHAT = re.compile(
    r"embed|minilm|\bbge\b|\bgte\b|\be5-|rerank|whisper|\btts\b|dall-e|moderation|gpt-image|sora|transcribe"
    r"|babbage|davinci|realtime|gpt-3\.5-turbo-instruct|gpt-audio|computer-use|deep-research",
    re.IGNORECASE,
)
EMBEDDING = re.compile(r"embed|minilm|\bbge\b|\bgte\b|\be5-", re.IGNORECASE)


@transaction.atomic
def add_backend(*, name: str, base_url: str, api_key: str | None = None, api_key_env: str | None = None, preset: str = "") -> Backend:
    """Create the backend with this name, or change it. None keeps a value, but a new server address deletes the old server's key.

    Raises:
        ValidationError: a value is not valid.
    """
    url = clean_base_url(base_url)
    backend = Backend.objects.select_for_update().filter(name=name).first() or Backend(name=name)
    if backend.pk and not same_server(backend.base_url, url):
        backend.api_key, backend.api_key_env = Secret(), ""
    if not backend.pk or preset or backend.base_url != url:
        backend.preset = preset or preset_for(url)
    if not backend.pk:
        backend.max_concurrency = PRESETS[backend.preset].max_concurrency
    backend.base_url, backend.flagged = url, ""
    if api_key is not None:
        backend.api_key, backend.api_key_env = Secret.of(api_key), ""
    if api_key_env is not None:
        backend.api_key, backend.api_key_env = Secret(), api_key_env
    backend.full_clean()
    if backend.pk:
        cooldowns.reset(name)  # its pauses belong to its old address or key
    backend.save()
    return backend


def free_name(wanted: str) -> str:
    """Return `wanted`, with a number if a backend has this name."""
    taken = set(Backend.objects.values_list("name", flat=True))
    return next(name for name in (wanted, *(f"{wanted}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)


def same_server(one: str, other: str) -> bool:
    """Return whether two addresses have the same scheme, host, and port."""
    return urlsplit(one)[:2] == urlsplit(other)[:2]


@transaction.atomic
def set_route(
    *,
    name: str,
    steps: Sequence[tuple[Backend, str]],
    first_token_timeout: float | None = None,
    idle_timeout: float | None = None,
    mid_stream: str = "",
    balance: str = "",
    sticky: bool | None = None,
    groups: Sequence[int] = (),
    weights: Sequence[int] = (),
) -> Route:
    """Give the route of that name these steps and no others, creating it where missing.

    Args:
        groups: the group of each step; empty for one group.
        weights: the weight of each step; empty for equal shares.

    Raises:
        ValidationError: a step or an option is not valid.
    """
    if not steps:
        raise ValidationError(_("A route needs at least one step."))
    route = Route.objects.select_for_update().filter(name=name).first() or Route(name=name)
    route.mid_stream = mid_stream or route.mid_stream
    route.balance = balance or route.balance
    route.sticky = route.sticky if sticky is None else sticky
    route.full_clean()
    route.save()
    route.steps.all().delete()
    for position, (backend, model) in enumerate(steps):
        step = RouteStep(
            route=route,
            backend=backend,
            model=model,
            position=position,
            first_token_timeout=first_token_timeout,
            idle_timeout=idle_timeout,
            group=groups[position] if groups else 0,
            weight=weights[position] if weights else 1,
        )
        step.full_clean()
        step.save()
    return route


def add_model(*, backend: Backend, name: str, context_window: int | None = None, discovered: bool = False) -> BackendModel:
    """Record that a backend offers a model. Its limits are guessed from its name until a probe checks them."""
    capabilities = {"chat": False, "embeddings": bool(EMBEDDING.search(name))} if NOT_CHAT.search(name) else {}
    row, _created = BackendModel.objects.get_or_create(
        backend=backend,
        name=name,
        defaults={"context_window": context_window, "discovered": discovered, "capabilities": capabilities},
    )
    return row


@dataclass(frozen=True, slots=True)
class Rotation:
    """The outcome of a rotation: the names of rows whose secret is now under the newest encryption key, and of those whose key is lost."""

    rotated: tuple[str, ...]
    lost: tuple[str, ...]


@transaction.atomic
def rotate_keys() -> Rotation:
    """Encrypt every stored secret with the newest encryption key. A secret that cannot be read stays, and its row is named as lost."""
    rotated: list[str] = []
    lost: list[str] = []
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, SecretField):
                for row in model._default_manager.select_for_update().exclude(**{field.name: ""}):
                    (rotated if _rotate(row, field.name) else lost).append(str(row))
    return Rotation(tuple(rotated), tuple(lost))


def _rotate(row: Model, name: str) -> bool:
    """Encrypt one secret anew; return whether it could be read."""
    try:
        setattr(row, name, getattr(row, name).rotated())
    except KeyLost:
        return False
    row.save(update_fields=[name])
    return True
