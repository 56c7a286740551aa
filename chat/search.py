"""Search a user's own conversations: their titles, and their messages by full text, the latest first.

The cost is bounded: a query reads at most `PAGE` matches from the index, which yields them in the order of their time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from itertools import takewhile
from operator import and_, or_
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from chat import selectors
from chat.models import Conversation, Message
from webapp.accounts.models import User

PAGE = 120
"""Matching messages that one query reads."""
SHOWN_HITS = 3
"""Messages that a conversation shows of its matches."""
TITLES = 20
MAX_WORDS = 12
_MARKS = ("\x02", "\x03")

_SQLITE = """
SELECT m.id, m.conversation_id, m.role, m.created_at, m.search_id, snippet(chat_message_fts, 0, %s, %s, '…', 12)
FROM chat_message_fts JOIN chat_message m ON m.search_id = chat_message_fts.rowid
WHERE chat_message_fts MATCH %s AND chat_message_fts.rowid < %s ORDER BY chat_message_fts.rowid DESC LIMIT %s
"""
_POSTGRESQL = """
SELECT hit.id, hit.conversation_id, hit.role, hit.created_at, hit.search_id,
       ts_headline('simple', left(hit.text, 200000), to_tsquery('simple', %s),
                   'MaxWords=14, MinWords=6, StartSel=' || %s || ', StopSel=' || %s)
FROM (
    SELECT m.* FROM chat_message m JOIN chat_conversation c ON c.id = m.conversation_id
    WHERE to_tsvector('simple', left(m.text, 200000)) @@ to_tsquery('simple', %s) AND m.search_id < %s AND c.user_id = %s
    ORDER BY m.search_id DESC LIMIT %s
) hit ORDER BY hit.search_id DESC
"""
_END = 1 << 62
"""Larger than every `Message.search_id`."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that contains the words, and the place."""

    message_id: UUID
    is_question: bool
    snippet: SafeString
    written_at: datetime


@dataclass(slots=True)
class Found:
    """A conversation whose title or messages contain the words."""

    conversation: Conversation
    title: SafeString
    hits: list[Hit] = field(default_factory=list)
    more: int = 0
    """Matching messages that are not shown."""


@dataclass(frozen=True, slots=True)
class Results:
    """A page of results. `before` continues the search after it; None at its end."""

    found: list[Found]
    before: int | None = None


def words_of(query: str) -> list[str]:
    """Return the words to look for."""
    return re.findall(r"\w+", query)[:MAX_WORDS]


def find(user: User, query: str, before: int | None = None) -> Results:
    """Return the user's conversations that contain all words of `query`; the last word may be a prefix.

    Args:
        before: continues after an earlier page (`Results.before`). Titles are on the first page.
    """
    words = words_of(query)
    if not words:
        return Results([])
    rows, following = _page(_matches(user, words, _END if before is None else before))
    titled = titles(user, query) if before is None else []
    conversations = {one.id: one for one in titled}
    missing = {row[1] for row in rows} - conversations.keys()
    conversations |= Conversation.objects.defer(*selectors.LARGE).in_bulk(missing)
    found = {one.id: Found(one, _marked_title(one, words)) for one in titled}
    for id_, conversation_id, role, at, _, snippet in rows:
        if conversation_id not in conversations:  # deleted between the two queries
            continue
        conversation = conversations[conversation_id]
        entry = found.setdefault(conversation_id, Found(conversation, _marked_title(conversation, words)))
        if len(entry.hits) < SHOWN_HITS:
            entry.hits.append(Hit(id_, role == Message.Role.USER, _marked(snippet), at))
        else:
            entry.more += 1
    return Results(list(found.values()), following)


def _page(rows: list[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], int | None]:
    """Return the rows of a page, and where the next one begins. The last conversation is left to the next page if it may go on there."""
    if len(rows) < PAGE:
        return rows, None
    open_ = sum(1 for _ in takewhile(lambda row: row[1] == rows[-1][1], reversed(rows)))
    whole = rows[: len(rows) - open_] or rows
    return whole, whole[-1][4]


def titles(user: User, query: str, limit: int = TITLES) -> list[Conversation]:
    """Return the user's latest conversations whose title contains all words of `query`, archived ones too."""
    words = query.split()[:MAX_WORDS]
    rows = Conversation.objects.filter(user=user).order_by("-updated_at").defer(*selectors.LARGE)
    return list(rows.filter(title_filter(words))[:limit]) if words else []


def title_filter(words: Iterable[str]) -> Q:
    """Return the condition that a title contains all words. SQLite ignores case for ASCII letters only, so it gets the common spellings."""
    return reduce(and_, (_contains(word.replace("\x00", "")) for word in words), Q())


def _contains(word: str) -> Q:
    spellings = {word} if word.isascii() else {word, word.lower(), word.upper(), word.capitalize()}
    return reduce(or_, (Q(title__icontains=each) for each in sorted(spellings)))


def _matches(user: User, words: list[str], before: int) -> list[tuple[Any, ...]]:
    """Return (message, conversation, role, time, search_id, snippet) of the latest matches before a `search_id`."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(_SQLITE, [*_MARKS, _expression(user, words), before, PAGE])
            return [_row(row) for row in cursor.fetchall()]
        expression = " & ".join(words) + ":*"
        cursor.execute(_POSTGRESQL, [expression, *_MARKS, expression, before, user.pk, PAGE])
        return list(cursor.fetchall())


def _expression(user: User, words: list[str]) -> str:
    """Return the query for the full-text index. Its owner column keeps the messages of other users out before any is read.

    A single character is looked up as a word: its prefix would match most words of the index.
    """
    last = "*" if len(words[-1]) > 1 or not words[-1].isascii() else ""
    text = " ".join(f'"{word}"' for word in words) + last
    return f'{{text}} : ({text}) AND {{owner}} : "u{user.pk}"'


def _row(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row of SQLite with the types that PostgreSQL gives."""
    id_, conversation_id, role, at, search_id, snippet = row
    return UUID(id_), UUID(conversation_id), role, datetime.fromisoformat(f"{at}+00:00"), search_id, snippet


def _marked(snippet: str) -> SafeString:
    html = escape(snippet).replace(_MARKS[0], "<mark>").replace(_MARKS[1], "</mark>")
    return mark_safe(html)  # noqa: S308 - escaped above; only our marks become tags


def _marked_title(conversation: Conversation, words: list[str]) -> SafeString:
    pattern = re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))), re.IGNORECASE)
    return _marked(pattern.sub(lambda match: f"{_MARKS[0]}{match[0]}{_MARKS[1]}", str(conversation).replace(_MARKS[0], "")))
