"""Rebuild the message search: matches in the order of their time, each with its owner, so that a common word costs no more than a rare one."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

SQLITE = [
    "DROP TRIGGER chat_message_fts_insert",
    "DROP TRIGGER chat_message_fts_delete",
    "DROP TRIGGER chat_message_fts_update",
    "DROP TABLE chat_message_fts",
    "UPDATE chat_message SET search_id = (CAST(strftime('%s', created_at) AS INTEGER) << 31) | (search_id & 2147483647)",
    "CREATE VIRTUAL TABLE chat_message_fts USING fts5(text, owner, tokenize='unicode61 remove_diacritics 2', prefix='2 3')",
    "INSERT INTO chat_message_fts(rowid, text, owner) "
    "SELECT m.search_id, m.text, 'u' || c.user_id FROM chat_message m JOIN chat_conversation c ON c.id = m.conversation_id",
    "CREATE TRIGGER chat_message_fts_insert AFTER INSERT ON chat_message BEGIN "
    "INSERT INTO chat_message_fts(rowid, text, owner) "
    "SELECT new.search_id, new.text, 'u' || user_id FROM chat_conversation WHERE id = new.conversation_id; END",
    "CREATE TRIGGER chat_message_fts_delete AFTER DELETE ON chat_message BEGIN "
    "DELETE FROM chat_message_fts WHERE rowid = old.search_id; END",
    "CREATE TRIGGER chat_message_fts_update AFTER UPDATE OF text ON chat_message WHEN old.text IS NOT new.text BEGIN "
    "UPDATE chat_message_fts SET text = new.text WHERE rowid = new.search_id; END",
]
POSTGRESQL = [
    "UPDATE chat_message SET search_id = (extract(epoch from created_at)::bigint << 31) | (search_id & 2147483647)",
]


def forwards(_apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in {"sqlite": SQLITE, "postgresql": POSTGRESQL}[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("chat", "0008_owner_process")]
    operations = [
        migrations.RunPython(forwards, migrations.RunPython.noop),
        migrations.RemoveIndex(model_name="conversation", name="chat_conver_user_id_24194e_idx"),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(fields=["user", "-updated_at", "-id"], name="chat_latest"),
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(
                fields=["user", "folder", "-updated_at", "-id"],
                condition=models.Q(("archived", False), ("pinned", False)),
                name="chat_listed",
            ),
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(
                fields=["user", "-updated_at", "-id"], condition=models.Q(("archived", False), ("pinned", True)), name="chat_pinned"
            ),
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(fields=["user", "-updated_at", "-id"], condition=models.Q(("archived", True)), name="chat_archived"),
        ),
    ]
