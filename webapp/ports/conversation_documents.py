"""Let the chat index documents without importing the search app.

The search app registers itself in `AppConfig.ready()`. The chat passes it the files of a conversation. The search tool then finds them
by `ToolContext.conversation_id`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol
from uuid import UUID

from webapp.accounts.models import User


class ConversationDocuments(Protocol):
    """Index the documents of conversations."""

    def add(self, *, user: User, conversation_id: UUID, title: str, name: str, path: Path) -> None:
        """Index a copy of the file at `path`. `title` names the conversation's collection if it is new."""

    def forget(self, *, user: User, conversation_id: UUID) -> None:
        """Delete the conversation's documents."""


class _Registered:
    documents: ConversationDocuments | None = None


def register(documents: ConversationDocuments) -> None:
    """Register the indexer of conversations' documents."""
    _Registered.documents = documents


def documents() -> ConversationDocuments | None:
    """Return the registered indexer; None if there is none."""
    return _Registered.documents
