"""Create the objects of a first start: the built-in backend, its routes, and offers of found servers. Deleted ones stay deleted."""

from __future__ import annotations

from collections.abc import Callable

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import transaction

from webapp.backends.config import detection
from webapp.backends.config.presets import PRESETS
from webapp.backends.models import Backend, BackendModel, ConfigState, Offer, Route, RouteStep
from webapp.backends.services.configuration import add_backend, add_model, free_name
from webapp.builtin import EMBEDDING_MODELS, MINILM, default_embedding_model
from webapp.builtin.catalog import CHAT_MODEL, CHAT_WINDOW

BUILTIN = "builtin"
BUILTIN_URL = "http://builtin/v1"
DEFAULT_ROUTE = "default"
EMBED_ROUTE = "embed"
LAST = 1000


def seed() -> None:
    """Create the objects of a new installation, and look for servers. Idempotent, and fast if there is nothing to do."""
    if settings.PATCHBAY_BUILTIN:
        _once("builtin", _builtin_backend)
    _once("default", _default_route)
    _once("embed", _embed_route)
    _once("multilingual", _multilingual_model)
    if settings.PATCHBAY_DETECT:
        _once("detect", look_for_servers)


def _once(name: str, create: Callable[[], None]) -> None:
    """Call `create` unless an earlier start called it: users may have deleted the object."""
    state, _new = ConfigState.objects.get_or_create(pk=1)
    if name in state.seeded:
        return
    create()
    with transaction.atomic():
        state = ConfigState.objects.select_for_update().get(pk=1)
        if name not in state.seeded:
            state.seeded.append(name)
            state.save(update_fields=["seeded"])


@transaction.atomic
def _builtin_backend() -> None:
    backend, _new = Backend.objects.get_or_create(name=BUILTIN, defaults={"base_url": BUILTIN_URL, "preset": "builtin", "position": LAST})
    capabilities = {"chat": True, "stream": True, "stream_usage": True, "tools": True, "json_schema": True, "embeddings": False}
    BackendModel.objects.get_or_create(
        backend=backend, name=CHAT_MODEL, defaults={"context_window": CHAT_WINDOW, "capabilities": capabilities}
    )
    _embedding_models(backend)


def _embedding_models(backend: Backend) -> None:
    for name, model in EMBEDDING_MODELS.items():
        defaults = {"context_window": model.window, "capabilities": {"chat": False, "embeddings": True}}
        BackendModel.objects.get_or_create(backend=backend, name=name, defaults=defaults)


def _default_route() -> None:
    _route(DEFAULT_ROUTE, "The best backend that works", 0, CHAT_MODEL)


def _embed_route() -> None:
    _route(EMBED_ROUTE, "Embeddings for search", LAST, default_embedding_model().name)


@transaction.atomic
def _multilingual_model() -> None:
    """Offer the multilingual embedding model in an installation that was made before there was one.

    The route takes it if its only step is the built-in model that new installations had. Search has pinned the existing indexes to that
    model (search/migrations/0009).
    """
    backend = Backend.objects.filter(name=BUILTIN, base_url=BUILTIN_URL).first()
    if backend is None:
        return
    _embedding_models(backend)
    steps = list(RouteStep.objects.filter(route__name=EMBED_ROUTE))
    if len(steps) == 1 and (steps[0].backend_id, steps[0].model) == (backend.pk, MINILM.name):
        steps[0].model = default_embedding_model().name
        steps[0].save(update_fields=["model"])


@transaction.atomic
def _route(name: str, description: str, position: int, builtin_model: str) -> None:
    route, new = Route.objects.get_or_create(name=name, defaults={"description": description, "position": position})
    builtin = Backend.objects.filter(name=BUILTIN, base_url=BUILTIN_URL).first()
    if new and builtin:
        RouteStep.objects.create(route=route, backend=builtin, model=builtin_model, position=LAST)


def look_for_servers() -> None:
    """Record servers on this machine and in the environment as offers, unless they are known."""
    known = set(Backend.objects.values_list("base_url", flat=True))
    for found in async_to_sync(detection.find)():
        if found.base_url not in known:
            Offer.objects.get_or_create(
                base_url=found.base_url,
                defaults={"name": found.name, "preset": found.preset, "api_key_env": found.api_key_env, "model_ids": list(found.models)},
            )


@transaction.atomic
def accept_offer(*, offer: Offer) -> Backend:
    """Create a backend from an open offer, with its listed models, and put it before the built-in one in the default route.

    Raises:
        Offer.DoesNotExist: another administrator answered it meanwhile.
    """
    offer = Offer.objects.select_for_update().get(pk=offer.pk, state=Offer.State.OPEN)
    backend = add_backend(name=free_name(offer.name), base_url=offer.base_url, api_key_env=offer.api_key_env or None, preset=offer.preset)
    for name in offer.model_ids:
        add_model(backend=backend, name=name, discovered=True)
    add_to_default(backend=backend)
    offer.state = Offer.State.ACCEPTED
    offer.save(update_fields=["state"])
    return backend


def dismiss_offer(*, offer: Offer) -> None:
    """Do not offer this server again."""
    Offer.objects.filter(pk=offer.pk).update(state=Offer.State.DISMISSED)


def model_to_begin_with(backend: Backend) -> BackendModel | None:
    """Return a chat model that the preset prefers, else the first that the server listed."""
    chats = {row.name: row for row in backend.offered.order_by("id") if row.capabilities.get("chat", True)}
    preset = PRESETS.get(backend.preset)
    preferred = [chats[name] for name in preset.preferred if name in chats] if preset else []
    return next(iter([*preferred, *chats.values()]), None)


def add_to_default(*, backend: Backend) -> RouteStep | None:
    """Add a backend's first chat model to the default route, after its other steps and before the built-in backend.

    Returns:
        The step; None where there is no such route or model, or the backend is in the route already.
    """
    route = Route.objects.filter(name=DEFAULT_ROUTE).first()
    model = model_to_begin_with(backend)
    if route is None or model is None or route.steps.filter(backend=backend).exists():
        return None
    own = [step.position for step in route.steps.exclude(backend__base_url=BUILTIN_URL)]
    return RouteStep.objects.create(route=route, backend=backend, model=model.name, position=max(own, default=-1) + 1)


@transaction.atomic
def put_first(*, backend: Backend, model: str = "") -> RouteStep | None:
    """Make a backend's model the first step of the default route.

    Args:
        backend: the backend.
        model: the model; the one to begin with where it is empty.

    Returns:
        The step; None where there is no such route or model, or the model is a step already and first.
    """
    route = Route.objects.select_for_update().filter(name=DEFAULT_ROUTE).first()
    chosen = model or getattr(model_to_begin_with(backend), "name", "")
    if route is None or not chosen:
        return None
    steps = list(route.steps.all())
    first = next((step for step in steps if step.backend_id == backend.pk and step.model == chosen), None)
    if first is not None and steps[0] == first:
        return None
    first = first or RouteStep(route=route, backend=backend, model=chosen)
    others = [step for step in steps if step.pk != first.pk]
    shares = route.balance != Route.Balance.ORDERED
    for position, step in enumerate([first, *others]):
        step.position = position if step.position < LAST or step is first else LAST
        if shares:
            step.group = 0 if step is first else step.group + 1  # first means before those that share the load
        step.save()
    return first
