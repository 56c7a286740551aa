"""Files and vectors go with their rows, however those are deleted: by a service, or with the account of their owner."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete

from search.index import engine
from search.models import Document, Index
from search.services import file_path


def connect() -> None:
    post_delete.connect(_forget_file, sender=Document, dispatch_uid="search.Document")
    post_delete.connect(_forget_vectors, sender=Index, dispatch_uid="search.Index")


def _forget_file(instance: Document, **_: Any) -> None:
    transaction.on_commit(partial(file_path(instance.pk).unlink, missing_ok=True))


def _forget_vectors(instance: Index, **_: Any) -> None:
    gone = copy.copy(instance)  # Django takes its key away once the deletion is done
    transaction.on_commit(lambda: engine().drop(gone))
