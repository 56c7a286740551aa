"""Where the chat meets whoever indexes documents: neither imports the other.

The app that searches documents registers itself in `AppConfig.ready()`; the chat hands it the files that a conversation was given. The
search tool then finds them by `ToolContext.conversation_id`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol
from uuid import UUID

from webapp.accounts.models import User


class ConversationDocuments(Protocol):
    """Documents that belong to a conversation."""

    def add(self, *, user: User, conversation_id: UUID, title: str, name: str, path: Path) -> None:
        """Have a copy of the file at `path` indexed. `title` names the conversation, where it has no documents yet."""

    def forget(self, *, user: User, conversation_id: UUID) -> None:
        """Delete the conversation's documents."""


class _Registered:
    documents: ConversationDocuments | None = None


def register(documents: ConversationDocuments) -> None:
    """Have documents of conversations indexed by `documents`."""
    _Registered.documents = documents


def documents() -> ConversationDocuments | None:
    """Who indexes them; None where nobody does."""
    return _Registered.documents
