"""Let other apps read documents without importing the app that owns them.

The app that keeps documents registers a reader in `AppConfig.ready()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from webapp.accounts.models import User


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """Describe a document. `size` is in bytes."""

    id: str
    name: str
    collection: str
    size: int
    created_at: datetime


class Documents(Protocol):
    """Read the documents that a user may see. The methods are synchronous and use the ORM."""

    def page(self, user: User, *, offset: int, limit: int) -> Sequence[DocumentInfo]:
        """Return documents that are ready, newest first."""

    def text(self, user: User, document_id: str) -> str | None:
        """Return the whole text of a document; None where the user may not see it."""


class _Registered:
    documents: Documents | None = None


def register(documents: Documents) -> None:
    """Have documents read through `documents`."""
    _Registered.documents = documents


def documents() -> Documents | None:
    """Return the registered reader; None where no app keeps documents."""
    return _Registered.documents
