"""Search a user's own conversations by full text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.db import connection
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from chat.models import Conversation, Message
from webapp.accounts.models import User

LIMIT = 40
MAX_WORDS = 12
_MARKS = ("\x02", "\x03")

_SQLITE = """
SELECT m.id, snippet(chat_message_fts, 0, %s, %s, '…', 12) FROM chat_message_fts
JOIN chat_message m ON m.search_id = chat_message_fts.rowid JOIN chat_conversation c ON c.id = m.conversation_id
WHERE chat_message_fts MATCH %s AND c.user_id = %s ORDER BY rank LIMIT %s
"""
_POSTGRESQL = """
SELECT m.id, ts_headline('simple', left(m.text, 200000), query, 'MaxWords=14, MinWords=6, StartSel=' || %s || ', StopSel=' || %s)
FROM chat_message m JOIN chat_conversation c ON c.id = m.conversation_id, to_tsquery('simple', %s) query
WHERE to_tsvector('simple', left(m.text, 200000)) @@ query AND c.user_id = %s
ORDER BY ts_rank(to_tsvector('simple', left(m.text, 200000)), query) DESC LIMIT %s
"""


@dataclass(slots=True)
class Hit:
    """A conversation that contains the words, and the place."""

    conversation: Conversation
    snippet: SafeString


def find(user: User, query: str) -> list[Hit]:
    """Return the user's conversations that contain all words of `query` (the last may be a prefix), best first, each once."""
    words = re.findall(r"\w+", query)[:MAX_WORDS]
    if not words:
        return []
    sqlite = connection.vendor == "sqlite"
    expression = " ".join(f'"{word}"' for word in words) + "*" if sqlite else " & ".join(words) + ":*"
    with connection.cursor() as cursor:
        cursor.execute(_SQLITE if sqlite else _POSTGRESQL, [*_MARKS, expression, user.pk, LIMIT])
        rows = cursor.fetchall()
    found = Message.objects.select_related("conversation").in_bulk([Message._meta.pk.to_python(id_) for id_, _ in rows])
    hits: dict[object, Hit] = {}
    for id_, snippet in rows:
        message = found.get(Message._meta.pk.to_python(id_))
        if message:
            hits.setdefault(message.conversation_id, Hit(message.conversation, _marked(snippet)))
    return list(hits.values())


def _marked(snippet: str) -> SafeString:
    html = escape(snippet).replace(_MARKS[0], "<mark>").replace(_MARKS[1], "</mark>")
    return mark_safe(html)  # noqa: S308 - escaped above; only our marks become tags
