"""Delete files and vectors with their rows, however the rows are deleted: by a service, or with their owner's account."""

from __future__ import annotations

import copy
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, pre_delete

from search import page_pictures
from search.index import engine
from search.models import Collection, Index
from search.services import file_path, unlink


def connect() -> None:
    """Delete files and vectors together with their rows."""
    pre_delete.connect(_forget_files, sender=Collection, dispatch_uid="search.Collection")
    post_delete.connect(_forget_vectors, sender=Index, dispatch_uid="search.Index")


def _forget_files(instance: Collection, **_: Any) -> None:
    """Delete the files of all its documents at once. A receiver per document would make Django load all their texts."""
    keys = list(instance.documents.values_list("pk", flat=True))
    transaction.on_commit(lambda: unlink(file_path(pk) for pk in keys), robust=True)
    transaction.on_commit(lambda: page_pictures.forget(keys))


def _forget_vectors(instance: Index, **_: Any) -> None:
    gone = copy.copy(instance)  # Django removes the primary key after the deletion
    transaction.on_commit(lambda: engine().drop(gone))
