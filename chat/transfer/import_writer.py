"""Write imported conversations, with the files that came with them."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.files import File
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from chat import uploads
from chat.models import Conversation, Message, search_number
from chat.transfer.conversations import Imported, Turn, left_out
from chat.transfer.export_attachments import BROKEN, Enclosed
from webapp.accounts.models import User
from webapp.core import file_store
from webapp.patterns.errors import InputError

BATCH = 500
MAX_ENCLOSED = 400 * 1024 * 1024
"""Bytes that the files of one import may have unpacked; messages name the files beyond."""


class _FileStore:
    """Stores the files of one import. Where the import fails, `undo` removes their bytes."""

    def __init__(self, undo: ExitStack) -> None:
        self._undo = undo
        self._left = MAX_ENCLOSED

    def put(self, conversation: Conversation, found: tuple[Enclosed, ...]) -> tuple[list[dict[str, Any]], list[str]]:
        """Store the files of a message; return its `attachments`, and the names of the files that cannot be stored."""
        stored, refused = [], []
        for file in found:
            try:
                stored.append(self._put(conversation, file))
            except (uploads.Unusable, InputError, *BROKEN):
                refused.append(file.name)
        return stored, refused

    def _put(self, conversation: Conversation, file: Enclosed) -> dict[str, Any]:
        if self._left <= 0:
            raise uploads.Unusable(_("The files in this import are too large."))
        user = conversation.user
        with file.open() as data, ExitStack() as undo, transaction.atomic():
            upload = uploads.keep(user=user, file=File(data, name=file.name), conversation=conversation)
            undo.callback(file_store.forget, uploads.path(upload.id))
            self._left -= upload.size
            item = uploads.entry(upload)
            uploads.index(user=user, conversation_id=conversation.id, title=conversation.title, items=[item])
            self._undo.push(undo.pop_all())
        return item


def import_conversations(*, user: User, found: list[Imported]) -> int:
    """Write conversations with all their branches, all or none.

    Returns:
        The number of added conversations: those imported before, and empty ones, are skipped.
    """
    with ExitStack() as undo:
        with transaction.atomic():
            added = _import(user, found, _FileStore(undo))
        undo.pop_all()
    return added


def _import(user: User, found: list[Imported], files: _FileStore) -> int:
    by_id = {conversation_id(user, one): one for one in found if one.turns}
    known = set(Conversation.objects.filter(user=user).values_list("id", flat=True))
    fresh = {id_: one for id_, one in by_id.items() if id_ not in known}
    conversations = [_conversation(user, id_, one) for id_, one in fresh.items()]
    Conversation.objects.bulk_create(conversations, batch_size=BATCH)
    messages: list[Message] = []
    for conversation, one in zip(conversations, fresh.values(), strict=True):
        made = _messages(conversation, one, files)
        conversation.leaf = made.get(one.leaf or "", None) or list(made.values())[-1]
        messages += made.values()
    Message.objects.bulk_create(messages, batch_size=BATCH)
    Conversation.objects.bulk_update(conversations, ["leaf"], batch_size=BATCH)
    return len(conversations)


def conversation_id(user: User, one: Imported) -> UUID:
    """Return the same id for the same conversation of the same user: a second import of a file adds nothing twice."""
    first = one.turns[0]
    return uuid.uuid5(uuid.NAMESPACE_URL, f"patchbay-import:{user.pk}:{one.source or (one.title, first.at, first.text)}")


def _conversation(user: User, id_: UUID, one: Imported) -> Conversation:
    title = " ".join((one.title or one.turns[0].text[:60]).split())[:200]
    fields: dict[str, Any] = {"pinned": one.pinned, "archived": one.archived, "system_prompt": one.system_prompt}
    return Conversation(id=id_, user=user, title=title, titled=True, updated_at=one.at or timezone.now(), **fields)


def _messages(conversation: Conversation, one: Imported, files: _FileStore) -> dict[str, Message]:
    made: dict[str, Message] = {}
    for number, turn in enumerate(one.turns):
        at = (turn.at or one.at or timezone.now()) + timedelta(microseconds=number)  # branches of one time keep their order
        made[turn.key] = _message(conversation, turn, made.get(turn.parent or ""), at, files)
    return made


def _message(conversation: Conversation, turn: Turn, parent: Message | None, at: datetime, files: _FileStore) -> Message:
    stored, refused = files.put(conversation, turn.files)
    return Message(
        conversation=conversation,
        parent=parent,
        role=turn.role,
        text=(turn.text + left_out(refused)).strip(),
        parts=list(turn.parts),
        model=turn.model,
        created_at=at,
        search_id=search_number(at),
        attachments=stored,
    )
