"""Read conversations. Every function for a user takes the user and finds only their own data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import Q, TextField
from django.db.models.functions import Cast
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from chat import uploads
from chat.models import Conversation, Generation, LogRow, Message, Prompt, Upload
from chat.prompts import COMMANDS
from webapp.accounts.models import User

LARGE = ("system_prompt", "summary", "options", "analysis")
"""Fields of a conversation that lists do not need."""
WINDOW = 12
"""Messages that a page shows at first and loads at a time: a few screens."""

_PATH = """
WITH RECURSIVE path(id, parent_id, depth) AS (
    SELECT id, parent_id, 0 FROM chat_message WHERE id = %s AND conversation_id = %s
    UNION ALL
    SELECT m.id, m.parent_id, path.depth + 1 FROM chat_message m JOIN path ON m.id = path.parent_id WHERE path.depth < %s
)
SELECT id FROM path ORDER BY depth DESC
"""


class SocketSession(NamedTuple):
    """The sign-in behind a socket. `key` is empty for a socket that was opened without a session."""

    user_id: int
    key: str = ""
    auth_hash: str = ""


class NotFound(Exception):
    """Report that a conversation or message does not exist or belongs to another user. Both cases look the same."""


@dataclass(slots=True)
class Turn:
    """A message on the shown branch, with its siblings."""

    message: Message
    siblings: list[UUID] = field(default_factory=list)
    beside: list[Message] = field(default_factory=list)
    """The answers that it is compared with."""
    fate: str = ""
    """"left out" or "summarized" if it no longer fits into the window."""
    kept: bool = False
    """Edit was cancelled, so its Edit button gets the focus back."""

    @property
    def place(self) -> int:
        """Return its position among the siblings, from 1."""
        return self.siblings.index(self.message.id) + 1 if self.message.id in self.siblings else 1

    @property
    def before(self) -> UUID | None:
        """Return the id of the previous version, or None at the first."""
        return self.siblings[self.place - 2] if self.place > 1 else None

    @property
    def after(self) -> UUID | None:
        """Return the id of the next version, or None at the last."""
        return self.siblings[self.place] if self.place < len(self.siblings) else None


@dataclass(slots=True)
class Page:
    """A part of the shown branch, oldest first.

    Attributes:
        earlier: the first message of the part, if there are others before it.
        later: the last message of the part, if there are others after it.
    """

    turns: list[Turn]
    earlier: UUID | None
    later: UUID | None = None


def recent(user: User, limit: int = 20) -> list[Conversation]:
    """Return the user's latest conversations."""
    return list(Conversation.objects.filter(user=user, archived=False).order_by("-updated_at").defer(*LARGE)[:limit])


def conversation(conversation_id: UUID, user: User) -> Conversation:
    """Return a conversation of the user's, or raise `NotFound`."""
    found = Conversation.objects.filter(id=conversation_id, user=user).first()
    if found is None:
        raise NotFound(str(conversation_id))
    return found


def conversation_or_fresh(conversation_id: UUID, user: User) -> Conversation:
    """Return the conversation, or an unsaved one if the id is unused."""
    found = Conversation.objects.filter(id=conversation_id).first()
    if found is None:
        return Conversation(id=conversation_id, user=user, system_prompt=user.system_prompt)
    if found.user_id != user.pk:
        raise NotFound(str(conversation_id))
    return found


def may_attach(conversation_id: UUID, user_id: int) -> bool:
    """Return whether the user may open a socket on this id: their conversation, or an unused id."""
    owner = Conversation.objects.filter(id=conversation_id).values_list("user_id", flat=True).first()
    return owner is None or owner == user_id


def message(message_id: UUID, user: User) -> Message:
    """Return a message of the user's, or raise `NotFound`."""
    found = Message.objects.select_related("conversation").filter(id=message_id, conversation__user=user).first()
    if found is None:
        raise NotFound(str(message_id))
    return found


def path_ids(conversation_id: UUID, end: UUID | None, limit: int = 1_000_000) -> list[UUID]:
    """Return the ids from (at most `limit` messages back) to `end` along the parents, oldest first."""
    if end is None:
        return []
    prepare = Message._meta.pk.get_db_prep_value
    with connection.cursor() as cursor:
        cursor.execute(_PATH, [prepare(end, connection), prepare(conversation_id, connection), limit - 1])
        return [value if isinstance(value, UUID) else UUID(value) for (value,) in cursor.fetchall()]


def page(conversation: Conversation, *, before: UUID | None = None, limit: int = WINDOW) -> Page:
    """Return the last messages of the shown branch, or those before one of them."""
    end = conversation.leaf_id if before is None else _parent(conversation.id, before)
    ids = path_ids(conversation.id, end, limit + 1)
    earlier = ids[1] if len(ids) > limit else None
    shown = ids[1:] if len(ids) > limit else ids
    return Page(_turns(conversation, shown, whole=before is not None), earlier)


def page_around(conversation: Conversation, message_id: UUID) -> Page:
    """Return the part of the shown branch around one of its messages. Raises `NotFound` if the branch does not have it."""
    ids = path_ids(conversation.id, conversation.leaf_id)
    if message_id not in ids:
        raise NotFound(str(message_id))
    first = max(0, min(ids.index(message_id) - 2, len(ids) - WINDOW))
    return _part(conversation, ids, first)


def page_after(conversation: Conversation, after: UUID, until: UUID) -> Page:
    """Return the messages after one of the branch that ends with `until`."""
    ids = path_ids(conversation.id, until)
    if after not in ids:
        raise NotFound(str(after))
    part = _part(conversation, ids, ids.index(after) + 1)
    part.earlier = None
    return part


def _part(conversation: Conversation, ids: list[UUID], first: int) -> Page:
    shown = ids[first : first + WINDOW]
    later = shown[-1] if first + WINDOW < len(ids) else None
    return Page(_turns(conversation, shown, whole=later is not None), shown[0] if first and shown else None, later)


def _turns(conversation: Conversation, shown: list[UUID], *, whole: bool) -> list[Turn]:
    """Return messages of the shown branch as turns. `whole` is set for parts without its end, which have no report of their own."""
    found = Message.objects.in_bulk(shown)
    messages = [found[id_] for id_ in shown if id_ in found]
    siblings = _siblings(conversation.id, messages)
    gone = fates(conversation) if whole else _fates(message.report for message in messages[:-4:-1])
    turns = [Turn(message, siblings[message.parent_id], fate=gone.get(str(message.id), "")) for message in messages]
    if not whole and messages and messages[-1].compare:
        turns[-1].beside = _beside(messages[-1])
    return turns


def _beside(shown: Message) -> list[Message]:
    """Return the other answers of a comparison, in the order of their start."""
    return list(Message.objects.filter(conversation=shown.conversation_id, compare=shown.compare).exclude(id=shown.id))


def fates(conversation: Conversation) -> dict[str, str]:
    """Return which messages the latest answer could not send, and why."""
    ids = path_ids(conversation.id, conversation.leaf_id, 3)
    reports = dict(Message.objects.filter(id__in=ids).values_list("id", "report"))
    return _fates(reports.get(id_, {}) for id_ in reversed(ids))


def _fates(reports: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return the same from the reports of the last messages, latest first."""
    report = next(filter(None, reports), {})
    fate = "summarized" if report.get("summary") else "left out"
    return dict.fromkeys(report.get("left_out", ()), fate)


def _parent(conversation_id: UUID, message_id: UUID) -> UUID | None:
    return Message.objects.filter(id=message_id, conversation=conversation_id).values_list("parent_id", flat=True).first()


def turn(message: Message) -> Turn:
    """Return one message with its siblings."""
    return Turn(message, _siblings(message.conversation_id, [message])[message.parent_id])


def _siblings(conversation_id: UUID, messages: Iterable[Message]) -> dict[UUID | None, list[UUID]]:
    parents = {message.parent_id for message in messages}
    found = Message.objects.filter(parent__in=parents - {None})  # filter by parent only: a filter by conversation would read all of it
    roots = Message.objects.filter(conversation=conversation_id, parent=None)
    result: dict[UUID | None, list[UUID]] = defaultdict(list)
    for rows in (found, roots) if None in parents else (found,):
        for id_, parent in rows.order_by("created_at", "id").values_list("id", "parent_id"):
            result[parent].append(id_)
    return result


def branch(conversation: Conversation, *, html: bool = False) -> list[Message]:
    """Return the whole shown branch, oldest first; on request with the rendered answers."""
    ids = path_ids(conversation.id, conversation.leaf_id)
    found = {message.id: message for message in Message.objects.filter(conversation=conversation).defer(*(() if html else ("html",)))}
    return [found[id_] for id_ in ids if id_ in found]


def running(conversation_id: UUID) -> list[Generation]:
    """Return the generations of a conversation that still run."""
    return list(Generation.objects.filter(conversation=conversation_id, running=True).select_related("message"))


def log_after(generation_id: UUID, seq: int) -> tuple[list[LogRow], bool]:
    """Return the rows after number `seq`, and whether the generation still runs."""
    still = Generation.objects.filter(id=generation_id, running=True).exists()
    return list(LogRow.objects.filter(generation=generation_id, seq__gt=seq)), still


def ended_sessions(sessions: Iterable[SocketSession]) -> set[SocketSession]:
    """Return the sessions whose user is suspended, has signed out or has changed the password since the socket was opened."""
    asked = set(sessions)
    users = {user.pk: user for user in User.objects.filter(id__in={one.user_id for one in asked}, is_active=True)}
    keys = {one.key for one in asked if one.key}
    stored = set(Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now()).values_list("session_key", flat=True))
    return {one for one in asked if not _is_valid(one, users.get(one.user_id), stored)}


def rights(user_ids: Iterable[int]) -> dict[int, tuple[Any, ...]]:
    """Return a value for each user that changes with their permissions: their flags, groups, and the permissions of these."""
    found = User.objects.filter(id__in=set(user_ids))
    values: dict[int, list[Any]] = defaultdict(list)
    for fields in (("is_superuser", "is_staff"), ("groups", "groups__permissions"), ("user_permissions",)):
        for row in found.values_list("pk", *fields).order_by("pk", *fields):
            values[row[0]].append(row[1:])
    return {pk: tuple(each) for pk, each in values.items()}


def _is_valid(session: SocketSession, user: User | None, stored: set[str]) -> bool:
    if user is None:
        return False
    return not session.key or (session.key in stored and constant_time_compare(session.auth_hash, user.get_session_auth_hash()))


def attached(user: User, conversation_id: UUID, ids: object) -> list[dict[str, Any]]:
    """Return the user's uploads with these ids (one, several, or none, as a form sends them) in the format of a message."""
    wanted = [ids] if isinstance(ids, str) else ids if isinstance(ids, list) else []
    found = []
    for value in wanted[:20]:
        id_ = _uuid(value)
        free = Q(conversation=None) | Q(conversation=conversation_id)
        upload = Upload.objects.filter(free, id=id_, user=user).first() if id_ else None
        if upload is None:
            raise NotFound(str(value))
        found.append(uploads.entry(upload))
    return found


def files_of(conversation: Conversation) -> set[str]:
    """Return the ids of the files that the messages of a conversation show: attachments, and images of tools."""
    attached = conversation.messages.exclude(attachments=[]).values_list("attachments", flat=True)
    drawn = conversation.messages.alias(said=Cast("parts", TextField())).filter(said__contains='"images"')
    parts = (part for parts in drawn.values_list("parts", flat=True) for part in parts)
    return {item["id"] for items in (*attached, *(part.get("images") or () for part in parts)) for item in items}


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None


def prompts(user: User) -> list[Prompt]:
    """Return the user's own prompts and the shared ones, by name."""
    return list(Prompt.objects.filter(Q(user=user) | Q(shared=True)).select_related("user"))


def prompt(prompt_id: UUID, user: User) -> Prompt:
    """Return a prompt that the user may use."""
    found = Prompt.objects.filter(Q(user=user) | Q(shared=True), id=prompt_id).first()
    if found is None:
        raise NotFound(str(prompt_id))
    return found


def is_command(name: str, user: User) -> bool:
    """Return whether `/name` is a command of the composer, or a prompt that the user may use."""
    return name in COMMANDS or Prompt.objects.filter(Q(user=user) | Q(shared=True), name=name).exists()


def own_prompt(prompt_id: UUID, user: User) -> Prompt:
    """Return a prompt that the user may change."""
    found = Prompt.objects.filter(id=prompt_id, user=user).first()
    if found is None:
        raise NotFound(str(prompt_id))
    return found
