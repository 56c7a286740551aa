"""Search collections for the `file_search` tool of `/v1/responses`."""

from __future__ import annotations

from collections.abc import Sequence

from search.models import Collection
from search.vector_stores import lookup, services
from search.vector_stores.searching import Options, Scored, search_stores
from webapp.accounts.models import User
from webapp.core.database import in_database
from webapp.patterns.agent.tools import ToolError
from webapp.patterns.types import Json


class CollectionSearch:
    """The `webapp.ports.file_search` of this app."""

    async def search(self, user: User, tool: Json, queries: Sequence[str]) -> Sequence[Json]:
        """Return the best passages over all queries and stores; without `vector_store_ids`, over all that the user may read."""
        stores = await in_database(_stores, user, tool.get("vector_store_ids") or ())
        return [_passage(scored) for scored in await search_stores(user, stores, queries, Options.of(tool))]


def _passage(scored: Scored) -> Json:
    document = scored.result.chunk.document
    return {
        "file_id": document.api_id,
        "filename": document.name,
        "score": scored.score,
        "text": scored.result.chunk.text,
        "attributes": document.attributes,
    }


def _stores(user: User, names: Sequence[str]) -> list[Collection]:
    """Return the stores with these ids or names, and note their use.

    Raises:
        ToolError: one does not exist for this user, or has expired.
    """
    found = []
    for name in names:
        store = lookup.find_store(user, str(name))
        if store is None:
            raise ToolError(f"There is no vector store '{str(name)[:100]}'.")
        if store.is_expired:
            raise ToolError(f"The vector store '{str(name)[:100]}' has expired.")
        found.append(store)
    services.touch([store.pk for store in found])
    return found
