"""Writes of imported conversations."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from chat.imports import Imported, Turn
from chat.models import Conversation, Message
from webapp.accounts.models import User

BATCH = 500


@transaction.atomic
def import_conversations(*, user: User, found: list[Imported]) -> int:
    """Write conversations with all their branches, all or none; how many were added: those imported before, and empty ones, are left."""
    named = {_id(user, one): one for one in found if one.turns}
    known = set(Conversation.objects.filter(user=user).values_list("id", flat=True))
    fresh = {id_: one for id_, one in named.items() if id_ not in known}
    conversations = [_conversation(user, id_, one) for id_, one in fresh.items()]
    Conversation.objects.bulk_create(conversations, batch_size=BATCH)
    messages: list[Message] = []
    for conversation, one in zip(conversations, fresh.values(), strict=True):
        made = _messages(conversation, one)
        conversation.leaf = made.get(one.leaf or "", None) or list(made.values())[-1]
        messages += made.values()
    Message.objects.bulk_create(messages, batch_size=BATCH)
    Conversation.objects.bulk_update(conversations, ["leaf"], batch_size=BATCH)
    return len(conversations)


def _id(user: User, one: Imported) -> UUID:
    """The same for the same conversation of the same user, so that a second import of a file adds nothing twice."""
    first = one.turns[0]
    return uuid.uuid5(uuid.NAMESPACE_URL, f"patchbay-import:{user.pk}:{one.source or (one.title, first.at, first.text)}")


def _conversation(user: User, id_: UUID, one: Imported) -> Conversation:
    title = " ".join((one.title or one.turns[0].text[:60]).split())[:200]
    at = one.at or timezone.now()
    return Conversation(id=id_, user=user, title=title, titled=True, pinned=one.pinned, archived=one.archived, updated_at=at)


def _messages(conversation: Conversation, one: Imported) -> dict[str, Message]:
    made: dict[str, Message] = {}
    for number, turn in enumerate(one.turns):
        at = (turn.at or one.at or timezone.now()) + timedelta(microseconds=number)  # branches of one time keep their order
        made[turn.key] = _message(conversation, turn, made.get(turn.parent or ""), at)
    return made


def _message(conversation: Conversation, turn: Turn, parent: Message | None, at: datetime) -> Message:
    parts = [{"kind": "text", "text": turn.text}] if turn.role == Message.Role.ASSISTANT else []
    return Message(conversation=conversation, parent=parent, role=turn.role, text=turn.text, parts=parts, model=turn.model, created_at=at)
