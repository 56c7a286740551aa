"""Index the documents of a conversation in a collection of its own, which the search tool searches first."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

from search import services
from search.models import Collection, Document
from webapp.accounts.models import User

WAIT_SECONDS = 20.0
LOOK_SECONDS = 0.3


class Attached:
    """Implement `webapp.ports.conversation_documents`."""

    def add(self, *, user: User, conversation_id: UUID, title: str, name: str, path: Path) -> None:
        """Index a file for one conversation, in a collection of its own."""
        collection = Collection.objects.filter(owner=user, conversation=conversation_id).first()
        if collection is None:
            unique = f"Chat: {title[:80]} ({conversation_id.hex[:6]})"
            collection = services.create_collection(owner=user, name=unique, conversation=conversation_id)
        services.add_file(collection=collection, name=name, content=services.pieces(path))

    def forget(self, *, user: User, conversation_id: UUID) -> None:
        """Delete the conversation's collections."""
        for collection in Collection.objects.filter(owner=user, conversation=conversation_id):
            services.delete_collection(collection=collection)


async def collection_of(user: User, conversation_id: str | None, *, wait: float = WAIT_SECONDS) -> int | None:
    """Return the collection of a conversation when its documents are indexed or `wait` seconds are over; None if it has none."""
    try:
        id_ = UUID(conversation_id or "")
    except ValueError:
        return None
    found: int | None = await Collection.objects.filter(owner=user, conversation=id_).values_list("pk", flat=True).afirst()
    under_way = Document.objects.filter(collection=found, state__in=Document.UNDER_WAY)
    deadline = asyncio.get_running_loop().time() + wait
    while found and await under_way.aexists() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - another process may index them
        await asyncio.sleep(LOOK_SECONDS)
    return found
