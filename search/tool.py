"""Let a model search the user's documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from webapp.patterns.agent.tools import ToolContext, ToolError

if TYPE_CHECKING:
    from webapp.accounts.models import User

HOW_TO_CITE = "Quote what you use, and cite each quote with a Markdown link to its url."
MAX_TEXT_CHARS = 1500


async def search_documents(
    query: str, me: ToolContext, collection: str = "", limit: Annotated[int, Field(ge=1, le=20)] = 5
) -> dict[str, Any]:
    """Search the user's own documents for passages, by meaning and by words; those attached to this conversation come first.

    Args:
        query: a question or key words.
        collection: the name of a collection to search alone; empty for all.
        limit: how many passages, 1 to 20.
    """
    from search import conversation_documents
    from search.ranking import citations
    from search.ranking import query as searching
    from search.selectors import Filters

    user = await _user(me)
    results = await searching.search(user, query, filters=Filters(collection=await _collection(user, collection)), limit=limit, rerank=True)
    found = results.found
    if not collection and (own := await conversation_documents.collection_of(user, me.conversation_id)):
        first = (await searching.search(user, query, filters=Filters(collection=own), limit=limit, rerank=True)).found
        known = {result.chunk.pk for result in first}
        found = [*first, *(result for result in found if result.chunk.pk not in known)][:limit]
    rows = [citations.row(result) for result in found]
    wanted = ("document", "heading", "text", "url", "collection")
    passages = [{name: row[name][:MAX_TEXT_CHARS] for name in wanted} for row in rows]
    return {"passages": passages, "how_to_cite": HOW_TO_CITE} | ({"problems": results.problems} if results.problems else {})


async def _user(me: ToolContext) -> User:
    from webapp.accounts.models import User

    user = await User.objects.filter(pk=me.user_id, is_active=True).afirst() if me.user_id else None
    if user is None:
        raise ToolError("Documents can only be searched for a signed-in user.")
    return user


async def _collection(user: User, name: str) -> int | None:
    from search import selectors

    if not name:
        return None
    found = await selectors.collections(user).filter(name__iexact=name).afirst()
    if found is None:
        names = [each async for each in selectors.collections(user).values_list("name", flat=True)[:20]]
        raise ToolError(f"There is no collection named {name[:100]!r}. There are: {', '.join(names) or 'none'}.")
    return found.pk
