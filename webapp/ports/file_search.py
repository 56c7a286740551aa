"""Let responses search collections of documents without knowing the app that holds them: it registers itself in `AppConfig.ready()`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from webapp.accounts.models import User
from webapp.patterns.agent.tools import ToolError
from webapp.patterns.types import Json


class FileSearch(Protocol):
    """Search for the `file_search` tool of a request."""

    async def search(self, user: User, tool: Json, queries: Sequence[str]) -> Sequence[Json]:
        """Return passages, best first: `{"file_id", "filename", "score", "text", "attributes"}` each; scores lie between 0 and 1.

        Args:
            user: whose collections are searched.
            tool: the entry of the request's `tools`: `vector_store_ids`, `max_num_results`, `filters`, `ranking_options`.
            queries: one or more, whose results are merged.

        Raises:
            ToolError: a collection does not exist for this user, or cannot be searched now.
        """


class _Registered:
    search: FileSearch | None = None


def register(search: FileSearch) -> None:
    """Search with `search`."""
    _Registered.search = search


def registered() -> FileSearch:
    """Return the registered search.

    Raises:
        ToolError: no app has registered one.
    """
    if _Registered.search is None:
        raise ToolError("File search is not available on this server.")
    return _Registered.search
