"""Raise the version with every change of the configuration, so that this process sees it at once and others within seconds."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import F, Model
from django.db.models.signals import m2m_changed, post_delete, post_save

from webapp.accounts.models import Budget
from webapp.backends.models import Backend, BackendModel, ConfigState, Learned, Rollout, Route, RouteStep
from webapp.backends.runtime import registry

WATCHED: tuple[type[Model], ...] = (Backend, BackendModel, Learned, Rollout, Route, RouteStep, Budget, Group)


def connect() -> None:
    """Connect to the signals of all models that the registry reads."""
    for model in WATCHED:
        for signal in (post_save, post_delete):
            signal.connect(_changed, sender=model, dispatch_uid=f"backends.{model.__name__}")
    for relation in (Route.allowed_users.through, Route.allowed_groups.through):
        m2m_changed.connect(_restrict, sender=relation, dispatch_uid=f"backends.restrict.{relation.__name__}")
    relations: tuple[type[Model], ...] = (Route.allowed_users.through, Route.allowed_groups.through, get_user_model().groups.through)
    for through in relations:
        m2m_changed.connect(_changed, sender=through, dispatch_uid=f"backends.{through.__name__}")


def _changed(**_details: Any) -> None:
    bump()


def _restrict(instance: Model, action: str, reverse: bool, pk_set: set[int] | None, **_details: Any) -> None:  # noqa: FBT001 - Django's signature
    """Mark a route as restricted once it names users, so that deleting the last of them does not open it to everyone."""
    if action == "post_add":
        Route.objects.filter(pk__in=(pk_set or ()) if reverse else [instance.pk]).update(restricted=True)


def bump() -> None:
    """Raise the version in the transaction of the change."""
    if not ConfigState.objects.filter(pk=1).update(version=F("version") + 1):
        ConfigState.objects.get_or_create(pk=1, defaults={"version": 1})
    registry.stale()
    transaction.on_commit(registry.stale)
