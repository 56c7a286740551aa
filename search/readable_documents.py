"""Documents for other apps: the implementation of `webapp.ports.documents`."""

from __future__ import annotations

from uuid import UUID

from search import selectors
from search.models import Document
from webapp.accounts.models import User
from webapp.ports.documents import DocumentInfo


class ReadableDocuments:
    """Read the documents that are ready, as their readers may see them."""

    def page(self, user: User, *, offset: int, limit: int) -> list[DocumentInfo]:
        """Return documents that are ready, newest first."""
        ready = selectors.documents(user).filter(state=Document.State.READY).order_by("-created_at", "id")
        return [
            DocumentInfo(str(document.pk), document.name, document.collection.name, document.size, document.created_at)
            for document in ready[offset : offset + limit]
        ]

    def text(self, user: User, document_id: str) -> str | None:
        """Return the whole text of a document; None where the user may not see it."""
        try:
            key = UUID(document_id)
        except ValueError:
            return None
        ready = Document.objects.filter(collection__in=selectors.collections(user), state=Document.State.READY, pk=key)
        return ready.values_list("text", flat=True).first()
