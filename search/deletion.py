"""Delete the documents that their owner deleted many at once: the page only hides them, since thousands take minutes."""

from __future__ import annotations

from uuid import UUID

from search import leases, services
from search.models import Document


def claim() -> UUID | None:
    """Claim a hidden document that no worker holds."""
    hidden = Document.objects.filter(leases.free(), state=Document.State.DELETING).order_by()
    for pk in hidden.values_list("pk", flat=True)[:10]:
        if leases.take(Document.objects.filter(pk=pk, state=Document.State.DELETING)):
            return pk
    return None


def delete_next() -> bool:
    """Delete one hidden document completely; return whether there was one."""
    pk = claim()
    document = Document.objects.defer("text").filter(pk=pk).first() if pk else None
    if document is not None:
        services.delete_document(document=document)
    return pk is not None
