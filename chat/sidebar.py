"""List a user's conversations for the sidebar, a part at a time: pinned ones, folders, then the others by age."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat import search, selectors
from chat.models import Conversation
from webapp.accounts.models import User
from webapp.core.keysets import following

PART = 60
"""Conversations without a folder that are loaded at a time."""
MAX_SHOWN = 600
FOLDERED = 6
"""Conversations that each folder shows at first, and loads at a time."""
MAX_FOLDERED = 600
PINNED = 200
ORDER = ("-updated_at", "-id")

_AGES = ((0, _("Today")), (1, _("Yesterday")), (7, _("Last 7 days")), (30, _("Last 30 days")))
_OLDER = _("Older")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last conversation of a part: the next part begins after it."""

    updated_at: datetime
    id: UUID

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Parse a cursor from an address. Raises `NotFound` for one that Patchbay did not write."""
        at, _, id_ = text.partition("~")
        try:
            cursor = cls(datetime.fromisoformat(at), UUID(id_))
        except ValueError:
            raise selectors.NotFound(text) from None
        if timezone.is_naive(cursor.updated_at):
            raise selectors.NotFound(text)
        return cursor

    def __str__(self) -> str:
        return f"{self.updated_at.isoformat()}~{self.id.hex}"

    def after(self) -> Q:
        """Return the condition for the conversations after this one."""
        return following(ORDER, (self.updated_at, self.id))


@dataclass(slots=True)
class Group:
    """Conversations under a heading. `more` continues a folder."""

    name: str
    folder: bool
    conversations: list[Conversation] = field(default_factory=list)
    more: Cursor | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the list. `more` continues it; `shown` counts the conversations without a folder in it."""

    groups: list[Group]
    shown: int = 0
    more: Cursor | None = None


def first(user: User, shown: int = PART) -> Part:
    """Return the pinned conversations, the folders, and the latest `shown` of the others."""
    pinned = list(_rows(user).filter(pinned=True)[:PINNED])
    folders = _folders(user)
    rest = later(user, limit=min(max(shown, PART), MAX_SHOWN))
    head = [Group(gettext("Pinned"), folder=False, conversations=pinned)] if pinned else []
    return Part([*head, *folders, *rest.groups], rest.shown, rest.more)


def later(user: User, *, after: Cursor | None = None, limit: int = PART) -> Part:
    """Return conversations without a folder by age, those after a cursor."""
    found, more = _cut(_rows(user).filter(after.after() if after else Q(), pinned=False, folder=""), limit)
    return Part(by_age(found), len(found), more)


def folder(user: User, name: str, after: Cursor) -> Group:
    """Return more conversations of a folder."""
    found, more = _cut(_rows(user).filter(after.after(), pinned=False, folder=name), FOLDERED)
    return Group(name, folder=True, conversations=found, more=more)


def archived(user: User, query: str = "", after: Cursor | None = None) -> Part:
    """Return archived conversations by age; those whose title contains all words of `query`."""
    rows = Conversation.objects.filter(after.after() if after else Q(), user=user, archived=True)
    rows = rows.filter(search.title_filter(query.split()[: search.MAX_WORDS]))
    found, more = _cut(rows.order_by(*ORDER).defer(*selectors.LARGE), PART)
    return Part(by_age(found), len(found), more)


def folder_names(user: User) -> list[str]:
    """Return the names of the user's folders, sorted."""
    rows = Conversation.objects.filter(user=user, archived=False, folder__gt="").order_by()
    return sorted(rows.values_list("folder", flat=True).distinct())


def by_age(conversations: Iterable[Conversation], now: datetime | None = None) -> list[Group]:
    """Return conversations, latest first, under the headings of their age."""
    today = timezone.localdate(now)
    groups: list[Group] = []
    for conversation in conversations:
        days = (today - timezone.localdate(conversation.updated_at)) // timedelta(days=1)
        name = str(next((name for limit, name in _AGES if days <= limit), _OLDER))
        if not groups or groups[-1].name != name:
            groups.append(Group(name, folder=False))
        groups[-1].conversations.append(conversation)
    return groups


def _rows(user: User) -> QuerySet[Conversation]:
    return Conversation.objects.filter(user=user, archived=False).order_by(*ORDER).defer(*selectors.LARGE)


def _cut(rows: QuerySet[Conversation], limit: int) -> tuple[list[Conversation], Cursor | None]:
    found = list(rows[: limit + 1])
    if len(found) <= limit:
        return found, None
    return found[:limit], Cursor(found[limit - 1].updated_at, found[limit - 1].id)


def _folders(user: User) -> list[Group]:
    """Return every folder with its latest conversations."""
    place = Window(RowNumber(), partition_by=F("folder"), order_by=(F("updated_at").desc(), F("id").desc()))
    rows = _rows(user).filter(pinned=False, folder__gt="").annotate(place=place).filter(place__lte=FOLDERED + 1)
    groups: dict[str, Group] = {}
    for conversation in rows.order_by("folder", "-updated_at", "-id")[:MAX_FOLDERED]:
        groups.setdefault(conversation.folder, Group(conversation.folder, folder=True)).conversations.append(conversation)
    for group in groups.values():
        _leave_rest(group)
    return list(groups.values())


def _leave_rest(group: Group) -> None:
    listed: Sequence[Conversation] = group.conversations[:FOLDERED]
    if len(group.conversations) > FOLDERED:
        group.more = Cursor(listed[-1].updated_at, listed[-1].id)
    group.conversations = list(listed)
