"""Copy all rows from one database to another unchanged, and verify the copy."""

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
"""Sessions are useless in another database."""
REPLACED = ["auth.Permission", "contenttypes.ContentType"]
"""Migrating creates these rows, with other ids than in an upgraded source. Groups would get the wrong permissions."""


class NotEmpty(Exception):
    """Report that the target already holds rows, which are never overwritten."""


@dataclass(frozen=True, slots=True)
class Copied:
    """One table: the number of its rows, and whether both sides have the same hash."""

    label: str
    rows: int
    same: bool


def copy_rows(source: str, target: str) -> Iterator[Copied]:
    """Copy every table from database alias `source` to `target` (migrated, empty) in one transaction; yield a result for each.

    Raises:
        NotEmpty: the target has rows. After any error the target stays empty.
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
    """Return all tables with our rows, referenced tables first."""
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
    # raw keeps the times that auto_now would overwrite
    model._base_manager.using(target)._insert(rows, fields=fields, using=target, raw=True)  # type: ignore[attr-defined]  # noqa: SLF001 - the only way to keep auto_now fields


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
    """Return a value in the form that both databases return: secrets by their token."""
    return getattr(value, "token", value)
