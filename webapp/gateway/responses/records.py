"""Write stored responses and conversations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from webapp.core.leases import LEASE, LeaseLost, held
from webapp.gateway.models import ConversationItem, ResponseEvents, StoredConversation, StoredResponse
from webapp.patterns import sanitize
from webapp.patterns.responses.items import PREFIXES
from webapp.patterns.responses.objects import TERMINAL, new_id
from webapp.patterns.types import Json

BATCH = 500
"""Rows that retention deletes at a time."""


def store_response(
    row: StoredResponse, events: bytes = b"", *, owner: str = "", record: Callable[[], None] = lambda: None
) -> StoredResponse:
    """Insert a response.

    Args:
        row: the new row; what no database can hold is taken out of its JSON.
        events: the first events of its log.
        owner: the process that runs it; empty for a queued one, which any process may claim.
        record: called in the same transaction: it keeps the answer to a request with an `Idempotency-Key`.
    """
    _clean(row)
    if owner:
        row.owner, row.lease_until = owner, timezone.now() + LEASE
    with transaction.atomic():
        row.save(force_insert=True)
        if events:
            row.events = append_events(row.pk, 0, events)
            row.save(update_fields=["events"])
        record()
        if row.status in TERMINAL and row.conversation_id:
            add_items(row.conversation_id, [*row.input, *row.response["output"]])
    return row


def _clean(row: StoredResponse) -> None:
    for name in ("request", "input", "response"):
        setattr(row, name, sanitize.clean(getattr(row, name)))


def count_events(events: bytes) -> int:
    """Return the number of events in whole server-sent events; comments do not count."""
    return events.count(b"\ndata: ")


def append_events(response_id: str, first: int, events: bytes) -> int:
    """Append events to a log; the number of the event that comes next."""
    after = first + count_events(events)
    if after > first:
        ResponseEvents.objects.create(response_id=response_id, first=first, last=after - 1, data=events.decode())
    return after


@transaction.atomic
def append_to_logs(pending: Sequence[tuple[StoredResponse, int, bytes]]) -> list[str]:
    """Append to the logs of running responses in one transaction; the ids of those whose lease was lost, which are left alone."""
    wanted = {row.pk: row.fence for row, _, _ in pending}
    rows = StoredResponse.objects.select_for_update().filter(pk__in=wanted)
    fences = dict(rows.values_list("pk", "fence"))
    kept = [(row, first, events) for row, first, events in pending if fences.get(row.pk) == row.fence]
    for row, first, events in kept:
        append_events(row.pk, first, events)
    return [pk for pk, fence in wanted.items() if fences.get(pk) != fence]


@transaction.atomic
def finish_response(row: StoredResponse, response: Json, *, first: int = 0, events: bytes = b"") -> None:
    """Store how a response ended, with its last events and the items for its conversation, in one transaction.

    Raises:
        LeaseLost: another process has taken the response over, or it was deleted; nothing is written.
    """
    row.response = sanitize.clean(response)
    row.status = response["status"]
    row.finished_at = timezone.now()
    fields = {"response": row.response, "status": row.status, "finished_at": row.finished_at, "owner": "", "lease_until": None}
    if not held(row).update(**fields, events=first + count_events(events)):
        raise LeaseLost(row.pk)
    append_events(row.pk, first, events)
    if row.conversation_id and response["status"] != "failed":
        add_items(row.conversation_id, [*row.input, *row.response["output"]])


def delete_response(row: StoredResponse) -> None:
    """Delete a response and its log. One that still runs stops at its next write."""
    row.delete()


def request_cancel(row: StoredResponse) -> None:
    """Ask the process that runs a response to cancel it."""
    StoredResponse.objects.filter(pk=row.pk).update(cancel_requested=True)


def create_conversation(*, user_id: int, metadata: Json, items: Iterable[Json]) -> StoredConversation:
    """Create a conversation with its first items."""
    with transaction.atomic():
        row = StoredConversation.objects.create(id=new_id("conv_"), user_id=user_id, metadata=sanitize.clean(metadata))
        add_items(row.pk, items)
    return row


def update_conversation(row: StoredConversation, metadata: Json) -> None:
    """Replace the metadata of a conversation."""
    row.metadata = sanitize.clean(metadata)
    row.save(update_fields=["metadata"])


def add_items(conversation_id: str, items: Iterable[Json]) -> list[Json]:
    """Append items to a conversation; those that it has already stay where they are. Return the items as they are stored."""
    given = [sanitize.clean(item) for item in items]
    rows = ConversationItem.objects.filter(conversation_id=conversation_id)
    known = set(rows.filter(key__in=[item["id"] for item in given]).values_list("key", flat=True))
    fresh = {item["id"]: item for item in given if item["id"] not in known}
    rows.bulk_create(ConversationItem(conversation_id=conversation_id, key=key, data=data) for key, data in fresh.items())
    return given


def with_new_ids(items: Iterable[Json]) -> list[Json]:
    """Return the items, each with a fresh id: for items that a client adds to a conversation."""
    return [{**item, "id": new_id(PREFIXES.get(item["type"], "item_"))} for item in items]


def delete_expired() -> int:
    """Delete responses that are older than `settings.RESPONSE_RETENTION_DAYS`, a batch at a time; return how many were deleted."""
    days = settings.RESPONSE_RETENTION_DAYS
    if not days:
        return 0
    ended = Q(finished_at__isnull=False)
    old = StoredResponse.objects.filter(ended, created_at__lt=timezone.now() - timedelta(days=days)).order_by("created_at")
    ids: list[Any] = list(old.values_list("pk", flat=True)[:BATCH])
    StoredResponse.objects.filter(pk__in=ids).delete()
    return len(ids)
