"""Full-text search over messages: FTS5 with triggers on SQLite, an expression index on PostgreSQL."""

from django.db import migrations

SQLITE = [
    "CREATE VIRTUAL TABLE chat_message_fts USING fts5(text, tokenize='unicode61 remove_diacritics 2')",
    "INSERT INTO chat_message_fts(rowid, text) SELECT search_id, text FROM chat_message",
    "CREATE TRIGGER chat_message_fts_insert AFTER INSERT ON chat_message BEGIN "
    "INSERT INTO chat_message_fts(rowid, text) VALUES (new.search_id, new.text); END",
    "CREATE TRIGGER chat_message_fts_delete AFTER DELETE ON chat_message BEGIN "
    "DELETE FROM chat_message_fts WHERE rowid = old.search_id; END",
    "CREATE TRIGGER chat_message_fts_update AFTER UPDATE OF text ON chat_message WHEN old.text IS NOT new.text BEGIN "
    "UPDATE chat_message_fts SET text = new.text WHERE rowid = new.search_id; END",
]
POSTGRESQL = ["CREATE INDEX chat_message_fts ON chat_message USING gin (to_tsvector('simple', left(text, 200000)))"]


def forwards(apps, schema_editor):
    for statement in {"sqlite": SQLITE, "postgresql": POSTGRESQL}[schema_editor.connection.vendor]:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("chat", "0001_initial")]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
