"""Make a large SQLite database by multiplying one row of each table in SQL. Columns that are not named keep the values of that row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ID: Final = "lower(hex(randomblob(16)))"
DAYS: Final = 30
BACKENDS, MODELS, ROUTES, USERS = 5, 4, 6, 200
TEXT_CHARS: Final = 6000
"""The length of a document. A query that reads documents reads their texts from the disk."""
WORDS: Final = "the answer explains how a server keeps its promise when a message is lost"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of rows."""

    attempts: int = 10_000_000
    conversations: int = 100_000
    own_conversations: int = 20_000
    documents: int = 100_000
    batches: int = 1000
    responses: int = 10_000


TEMPLATES: Final = """
import uuid
from django.utils import timezone
from batches.models import Batch, BatchRow, File
from chat.models import Conversation, Message
from search import services
from search.models import Chunk, Document
from webapp.accounts.models import User
from webapp.backends.models import ApiToken, Attempt
from webapp.gateway.models import StoredResponse
from webapp.toolservers.models import ServerCall, ToolServer

now, owner = timezone.now(), User.objects.get(username="owner")
User.objects.create(username="template", password="!")
token = ApiToken.objects.create(user=owner, digest="template", hint="0000")
Attempt.objects.create(created_at=now, source="chat", user=owner, route="route-0", backend="backend-0", model="m", outcome="ok", status=200)
conversation = Conversation.objects.create(user=owner, title="Template", titled=True, updated_at=now)
Message.objects.create(conversation=conversation, role="user", text="template", search_id=1)
file = File.objects.create(user=owner, filename="rows.jsonl", purpose="batch")
done = {"status": "completed", "total": 10, "completed": 10, "endpoint": "/v1/chat/completions", "model": "default", "executor": "local"}
batch = Batch.objects.create(user=owner, name="Template", input_file=file, input_id=file.pk, expires_at=now, completed_at=now, **done)
BatchRow.objects.create(batch=batch, number=0, custom_id="row-0", offset=0, length=1, state=1)
collection = services.create_collection(owner=owner, name="Library")
ready = {"kind": "markdown", "size": 1000, "digest": "template", "state": "ready", "passages": 1}
document = Document.objects.create(collection=collection, name="Template.md", **ready)
passage = {"text": "template", "start": 0, "end": 8, "tokens": 1, "digest": "template"}
Chunk.objects.create(document=document, collection=collection, scope=f"c{collection.pk}", **passage)
StoredResponse.objects.create(id="resp_template", user=owner, request_id=uuid.uuid4(), status="completed", model="default")
server = ToolServer.objects.create(name="tools", url="http://127.0.0.1:9/mcp", enabled=False)
ServerCall.objects.create(server=server, user=owner, tool="look", source="chat", ms=5)
"""
"""Python that makes the rows to multiply, through the models, so that new columns have their defaults."""


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database for bulk writing. A crash loses it."""
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -1000000")
        database.execute("PRAGMA temp_store = MEMORY")
        yield database
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        database.close()


def multiply(database: sqlite3.Connection, table: str, count: int, values: Mapping[str, str], *, template: str = "1") -> None:
    """Insert `count` rows. `values` has SQL by column; in it, `i` is the row's number from 1, and `one` the row that is multiplied.

    Indexes are dropped for the time, which makes the insertion several times as fast. `template` is the SQL condition of that row.
    """
    indexes = database.execute(
        "SELECT name, sql FROM sqlite_master WHERE tbl_name = ? AND type = 'index' AND sql NOT NULL", [table]
    ).fetchall()
    columns = [(name, kind) for _, name, kind, *_ in database.execute(f"PRAGMA table_info({table})")]
    used = [name for name, kind in columns if not (name == "id" and kind.lower() == "integer")]
    expressions = ", ".join(values.get(name, f'one."{name}"') for name in used)
    database.execute("BEGIN")
    for name, _ in indexes:
        database.execute(f'DROP INDEX "{name}"')
    database.execute(
        f"""WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {count})
        INSERT INTO {table} ({", ".join(f'"{name}"' for name in used)})
        SELECT {expressions} FROM numbers, (SELECT * FROM {table} WHERE {template} LIMIT 1) AS one"""
    )
    for _, statement in indexes:
        database.execute(statement)
    database.execute("COMMIT")


def moment(age_seconds: str) -> str:
    """Return the SQL of a time before now, in Django's form."""
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || ({age_seconds}) || ' seconds')"


def one_of(prefix: str, number: int) -> str:
    """Return the SQL of a random name."""
    return f"'{prefix}-' || (abs(random()) % {number})"


def fill(path: Path, sizes: Sizes) -> None:
    """Fill a database that has the rows of `TEMPLATES`."""
    with opened(path) as database:
        owner, template = (_user(database, name) for name in ("owner", "template"))
        multiply(database, "accounts_user", USERS, {"username": "'user-' || i"}, template="username = 'template'")
        _attempts(database, sizes.attempts, f"{template + 1} + abs(random()) % {USERS}")
        _conversations(database, sizes, owner, template)
        _documents(database, sizes.documents)
        _batches(database, sizes.batches)
        age = moment("i * 60")
        multiply(database, "gateway_storedresponse", sizes.responses, {"id": "'resp_' || i", "created_at": age})
        multiply(database, "toolservers_servercall", sizes.responses, {"created_at": age})
        multiply(
            database,
            "backends_apitoken",
            sizes.batches,
            {"digest": ID, "label": "'token ' || i", "user_id": f"{template} + 1 + i % {USERS}"},
        )


def _user(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute("SELECT id FROM accounts_user WHERE username = ?", [name]).fetchone()[0])


def _attempts(database: sqlite3.Connection, count: int, user: str) -> None:
    values = {
        "request_id": ID,
        "created_at": moment(f"({count} - i) * {DAYS * 86400.0 / max(count, 1)}"),
        "source": "substr('chat   gatewaybatch  ', 1 + 7 * (abs(random()) % 3), 7)",
        "route": one_of("route", ROUTES),
        "backend": one_of("backend", BACKENDS),
        "model": one_of("model", MODELS),
        "user_id": user,
        "outcome": "iif(i % 20, 'ok', 'failed')",
        "error": "iif(i % 20, '', 'ServerFailed')",
        "first_token_ms": "50 + (abs(random()) % 1000) * (abs(random()) % 1000) / 400.0",
        "duration_ms": "900.0 + abs(random()) % 4000",
        "prompt_tokens": "100 + abs(random()) % 2000",
        "completion_tokens": "abs(random()) % 500",
        "cost": "(abs(random()) % 10000) / 1e6",
        "summed": "NULL",
    }
    values["source"] = f"trim({values['source']})"
    multiply(database, "backends_attempt", count, values)


def _conversations(database: sqlite3.Connection, sizes: Sizes, owner: int, template: int) -> None:
    """Make conversations of two messages each."""
    own = sizes.own_conversations
    chat = {
        "id": "printf('%032x', i)",
        "title": "'Conversation ' || i",
        "user_id": f"iif(i <= {own}, {owner}, {template + 1} + i % {USERS})",
        "updated_at": moment("i * 20"),
        "created_at": moment("i * 20 + 10"),
    }
    multiply(database, "chat_conversation", sizes.conversations, chat, template="title = 'Template'")
    message = {
        "id": "printf('%032x', i)",
        "conversation_id": "printf('%032x', (i + 1) / 2)",
        "parent_id": "iif(i % 2, NULL, printf('%032x', i - 1))",
        "role": "iif(i % 2, 'user', 'assistant')",
        "text": f"'{WORDS} number ' || i",
        "search_id": "i + 1",
        "created_at": moment("(i + 1) / 2 * 20 + 10 - i % 2"),
    }
    multiply(database, "chat_message", 2 * sizes.conversations, message, template="text = 'template'")
    database.execute(
        "UPDATE chat_conversation SET leaf_id = (SELECT max(m.id) FROM chat_message m WHERE m.conversation_id = chat_conversation.id)"
    )


def _documents(database: sqlite3.Connection, count: int) -> None:
    """Make documents of one passage each."""
    document = {"id": "printf('%032x', i)", "name": "'Document ' || i || '.md'", "digest": ID, "created_at": moment("i * 20")}
    document["text"] = f"printf('%.*c', {TEXT_CHARS}, 'x')"
    multiply(database, "search_document", count, document, template="name = 'Template.md'")
    text = f"'{WORDS} in document ' || i"
    words = {"text": text, "text_words": text, "document_id": "printf('%032x', i)", "digest": ID}
    multiply(database, "search_chunk", count, words, template="digest = 'template'")


def _batches(database: sqlite3.Connection, count: int) -> None:
    """Make batches of ten rows each."""
    batch = {"id": "printf('%032x', i)", "name": "'Batch ' || i", "created_at": moment("i * 600"), "completed_at": moment("i * 600 - 60")}
    multiply(database, "batches_batch", count, batch, template="name = 'Template'")
    row = {"batch_id": "printf('%032x', 1 + (i - 1) / 10)", "number": "(i - 1) % 10", "custom_id": "'row-' || i"}
    multiply(database, "batches_batchrow", 10 * count, row)
