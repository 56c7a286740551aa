"""Read stored responses, their events, and conversations. Each read is limited to one user: the rows of others do not exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection
from django.db.models import QuerySet

from webapp.gateway.models import ConversationItem, ResponseEvents, StoredConversation, StoredResponse
from webapp.patterns.responses.objects import TERMINAL, owner_of
from webapp.patterns.types import Json
from webapp.ports.files_and_batches import ApiError

NEWEST_FIRST = ("-created_at", "-id")
"""The order of responses."""
MAX_TURNS = 10_000
"""Previous responses that a conversation is followed back through."""
MAX_ITEMS = 20_000
"""Items of a conversation that a response reads."""
_CHAIN = """
WITH RECURSIVE chain(id, previous, depth) AS (
    SELECT id, previous, 0 FROM gateway_storedresponse WHERE id = %s AND user_id = %s
    UNION ALL
    SELECT parent.id, parent.previous, chain.depth + 1
    FROM gateway_storedresponse parent JOIN chain ON parent.id = chain.previous
    WHERE parent.user_id = %s AND chain.depth < %s
)
SELECT id, previous FROM chain ORDER BY depth DESC
"""


def responses_of(user_id: int) -> QuerySet[StoredResponse]:
    """Return the user's responses, newest first."""
    return StoredResponse.objects.filter(user_id=user_id).order_by(*NEWEST_FIRST)


def response(user_id: int, response_id: str) -> StoredResponse:
    """Return a response of the user; raise a 404."""
    found = responses_of(user_id).filter(pk=response_id).first()
    if found is None:
        raise _missing("Response", response_id, "response_id")
    return found


def conversation(user_id: int, conversation_id: str) -> StoredConversation:
    """Return a conversation of the user; raise a 404."""
    found = StoredConversation.objects.filter(user_id=user_id, pk=conversation_id).first()
    if found is None:
        raise _missing("Conversation", conversation_id, "conversation_id")
    return found


def _missing(kind: str, identifier: str, param: str, code: str | None = None) -> ApiError:
    return ApiError(404, f"{kind} with id '{identifier[:200]}' not found.", param=param, code=code)


def history(user_id: int, previous: str) -> list[Json]:
    """Return the input and output items of a response and of all before it, oldest first.

    Raises:
        ApiError: 404 where one of them is missing, so that no context is lost silently.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CHAIN, [previous, user_id, user_id, MAX_TURNS])
        chain = [(str(key), str(before)) for key, before in cursor.fetchall()]
    missing = previous if not chain else chain[0][1]
    if missing:
        raise _missing("Previous response", missing, "previous_response_id", "previous_response_not_found")
    rows = StoredResponse.objects.in_bulk([key for key, _ in chain])
    return [item for key, _ in chain for item in (*rows[key].input, *(rows[key].response.get("output") or ()))]


def conversation_items(conversation_id: str) -> list[Json]:
    """Return the items of a conversation, oldest first."""
    newest = ConversationItem.objects.filter(conversation_id=conversation_id).order_by("-id").values_list("data", flat=True)[:MAX_ITEMS]
    return list(newest)[::-1]


def referenced_items(user_id: int, ids: Sequence[str]) -> dict[str, Json]:
    """Return by id the stored output items that these ids name."""
    owners = {owner for owner in map(owner_of, ids) if owner}
    rows = responses_of(user_id).filter(pk__in=owners)
    return {item["id"]: item for row in rows for item in row.response.get("output") or () if item.get("id") in ids}


@dataclass(frozen=True, slots=True)
class LoggedEvents:
    """A part of a response's log: whole server-sent events, and whether the response has ended."""

    events: list[bytes]
    ended: bool


def events_after(response_id: str, after: int) -> LoggedEvents | None:
    """Return the committed events with a sequence number above `after`; None for a response that was deleted meanwhile."""
    status = StoredResponse.objects.filter(pk=response_id).values_list("status", flat=True).first()  # first: the log is read after it
    if status is None:
        return None
    events: list[bytes] = []
    for first, data in ResponseEvents.objects.filter(response_id=response_id, last__gt=after).values_list("first", "data"):
        whole = [event + "\n\n" for event in data.split("\n\n") if event.startswith("event:")]
        events += [event.encode() for event in whole[max(0, after + 1 - first) :]]
    return LoggedEvents(events, ended=status in TERMINAL)
