"""Search collections for the `file_search` tool of `/v1/responses`."""

from __future__ import annotations

from collections.abc import Sequence

from search.ranking.query import SearchResult, search
from search.selectors import Filters, collections
from webapp.accounts.models import User
from webapp.core.database import in_database
from webapp.patterns.agent.tools import ToolError
from webapp.patterns.types import Json

DEFAULT_RESULTS = 10
MAX_RESULTS = 50
ID_PREFIX = "vs_"
"""A collection's id as a vector store: this, and its number."""


class CollectionSearch:
    """The `webapp.ports.file_search` of this app."""

    async def search(self, user: User, tool: Json, queries: Sequence[str]) -> Sequence[Json]:
        """Return the best passages over all queries and collections; each passage once, with its best score.

        Scores are relative to the best passage, from 0 to 1.
        """
        limit = min(int(tool.get("max_num_results") or DEFAULT_RESULTS), MAX_RESULTS)
        wanted = await in_database(_collection_ids, user, tool.get("vector_store_ids") or ())
        found: dict[int, SearchResult] = {}
        for query in queries:
            for collection in wanted:
                for result in (await search(user, query, filters=Filters(collection=collection), limit=limit)).found:
                    known = found.get(result.chunk.pk)
                    if known is None or known.score < result.score:
                        found[result.chunk.pk] = result
        ranked = sorted(found.values(), key=lambda result: result.score, reverse=True)[:limit]
        best = ranked[0].score if ranked else 1.0
        threshold = float((tool.get("ranking_options") or {}).get("score_threshold") or 0)
        passages = [_passage(result, best) for result in ranked]
        return [passage for passage in passages if passage["score"] >= threshold]


def _passage(result: SearchResult, best: float) -> Json:
    document = result.chunk.document
    return {
        "file_id": f"file-{document.pk.hex}",
        "filename": document.name,
        "score": round(result.score / best, 4) if best > 0 else 0.0,
        "text": result.chunk.text,
        "attributes": {"collection": result.chunk.collection.name, "heading": result.chunk.heading},
    }


def _collection_ids(user: User, names: Sequence[str]) -> list[int | None]:
    """Return the collections that these ids or names stand for; one None, for all, where none is named."""
    if not names:
        return [None]
    own = collections(user)
    found: list[int | None] = []
    for name in names:
        number = str(name).removeprefix(ID_PREFIX)
        row = own.filter(pk=int(number)).first() if number.isdecimal() and len(number) < 18 else own.filter(name__iexact=name).first()
        if row is None:
            raise ToolError(f"There is no vector store '{str(name)[:100]}'.")
        found.append(row.pk)
    return found
