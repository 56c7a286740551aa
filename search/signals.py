"""Files and vectors go with their rows, however those are deleted: by a service, or with the account of their owner."""

from __future__ import annotations

import copy
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, pre_delete

from search.index import engine
from search.models import Collection, Index
from search.services import file_path, unlink


def connect() -> None:
    pre_delete.connect(_forget_files, sender=Collection, dispatch_uid="search.Collection")
    post_delete.connect(_forget_vectors, sender=Index, dispatch_uid="search.Index")


def _forget_files(instance: Collection, **_: Any) -> None:
    """Those of all its documents at once: a receiver of theirs would have Django load all their texts."""
    paths = [file_path(pk) for pk in instance.documents.values_list("pk", flat=True)]
    transaction.on_commit(lambda: unlink(paths))


def _forget_vectors(instance: Index, **_: Any) -> None:
    gone = copy.copy(instance)  # Django takes its key away once the deletion is done
    transaction.on_commit(lambda: engine().drop(gone))
