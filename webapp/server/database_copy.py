"""Copying all rows from one database to another, unchanged, and proving it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.core.management.color import no_style
from django.core.serializers import sort_dependencies
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, models, transaction

BATCH_ROWS = 1000
SKIPPED = {"sessions.Session"}
"""Worth nothing elsewhere."""
REPLACED = ["auth.Permission", "contenttypes.ContentType"]
"""Made by migrating, with other ids than a source has that was upgraded: groups would get other permissions than theirs."""


class NotEmpty(Exception):
    """The target already holds rows: nothing is copied over them."""


@dataclass(frozen=True, slots=True)
class Copied:
    """One table: how many rows, and whether both sides hash alike."""

    label: str
    rows: int
    same: bool


def copy_rows(source: str, target: str) -> Iterator[Copied]:
    """Copy every table from database alias `source` to `target` (migrated, empty) in one transaction, a result each.

    Raises `NotEmpty`; on any error the target stays empty.
    """
    tables = _models()
    ours = [model for model in tables if model._meta.label not in REPLACED]
    filled = [model._meta.label for model in ours if model._base_manager.using(target).exists()]
    if filled:
        raise NotEmpty(
            f"The target already has rows in {', '.join(filled[:3])}{' and more' if filled[3:] else ''}: copy into a new database"
        )
    with transaction.atomic(using=target):
        for label in REPLACED:
            apps.get_model(label)._base_manager.using(target).all().delete()
        for model in tables:
            _copy_table(model, source, target)
        _reset_sequences(tables, target)
    for model in tables:
        found = _digest(model, source)
        yield Copied(model._meta.label, found[0], found == _digest(model, target))


def _models() -> list[type[models.Model]]:
    """All tables with rows of ours, those that others point to first."""
    ordered = sort_dependencies([(config, None) for config in apps.get_app_configs()])
    through = [model for model in apps.get_models(include_auto_created=True) if model._meta.auto_created]
    known = [*ordered, *(model for model in through if model not in ordered)]
    return [model for model in known if model._meta.managed and not model._meta.proxy and model._meta.label not in SKIPPED]


def _copy_table(model: type[models.Model], source: str, target: str) -> None:
    fields = model._meta.local_concrete_fields
    rows: list[models.Model] = []
    for row in model._base_manager.using(source).order_by("pk").iterator(BATCH_ROWS):
        rows.append(row)
        if len(rows) == BATCH_ROWS:
            _insert(model, rows, fields, target)
            rows = []
    if rows:
        _insert(model, rows, fields, target)


def _insert(model: type[models.Model], rows: list[models.Model], fields: Any, target: str) -> None:
    # raw: keeps what auto_now would overwrite
    model._base_manager.using(target)._insert(rows, fields=fields, using=target, raw=True)  # type: ignore[attr-defined]  # noqa: SLF001 - the one way that keeps auto_now fields


def _reset_sequences(tables: list[type[models.Model]], target: str) -> None:
    connection = connections[target]
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), tables):
            cursor.execute(statement)


def _digest(model: type[models.Model], alias: str) -> tuple[int, str]:
    names = [field.attname for field in model._meta.local_concrete_fields]
    encoder, digest, rows = DjangoJSONEncoder(sort_keys=True, default=str), hashlib.sha256(), 0
    for values in model._base_manager.using(alias).order_by("pk").values_list(*names).iterator(BATCH_ROWS):
        digest.update(encoder.encode([_plain(value) for value in values]).encode())
        rows += 1
    return rows, digest.hexdigest()


def _plain(value: Any) -> Any:
    """A value as both databases give it back: secrets by their token, decimals without trailing zeros."""
    return getattr(value, "token", value)
