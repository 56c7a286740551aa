"""Delete the documents that their owner deleted many at once: the page only hides them, since thousands take minutes."""

from __future__ import annotations

from search import leases, services
from search.models import Document
from webapp.core.leases import claim as claim_lease


def delete_next() -> bool:
    """Delete one hidden document completely; return whether there was one that no worker holds."""
    hidden = Document.objects.filter(state=Document.State.DELETING).defer("text").order_by()
    document = claim_lease(hidden, owner=leases.worker())
    if document is not None:
        services.delete_document(document=document)
    return document is not None
