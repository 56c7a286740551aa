"""Create the full-text index: FTS5 kept by triggers on SQLite; a generated tsvector and pgvector's table on PostgreSQL.

A later migration that has SQLite rebuild search_chunk drops its triggers with the table: make them again there.
"""

from django.db import migrations

SQLITE = [
    """
    CREATE VIRTUAL TABLE search_fulltext USING fts5(
        heading, text, scope, content='search_chunk', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2'
    )
    """,
    """
    CREATE TRIGGER search_fulltext_added AFTER INSERT ON search_chunk BEGIN
        INSERT INTO search_fulltext (rowid, heading, text, scope) VALUES (new.id, new.heading, new.text, new.scope);
    END
    """,
    """
    CREATE TRIGGER search_fulltext_deleted AFTER DELETE ON search_chunk BEGIN
        INSERT INTO search_fulltext (search_fulltext, rowid, heading, text, scope) VALUES ('delete', old.id, old.heading, old.text, old.scope);
    END
    """,
    """
    CREATE TRIGGER search_fulltext_changed AFTER UPDATE OF heading, text, scope ON search_chunk BEGIN
        INSERT INTO search_fulltext (search_fulltext, rowid, heading, text, scope) VALUES ('delete', old.id, old.heading, old.text, old.scope);
        INSERT INTO search_fulltext (rowid, heading, text, scope) VALUES (new.id, new.heading, new.text, new.scope);
    END
    """,
]
SQLITE_BACK = [
    "DROP TRIGGER search_fulltext_changed",
    "DROP TRIGGER search_fulltext_deleted",
    "DROP TRIGGER search_fulltext_added",
    "DROP TABLE search_fulltext",
]
POSTGRESQL = [
    "CREATE EXTENSION IF NOT EXISTS vector",
    "CREATE TABLE search_vector (index_id bigint NOT NULL, chunk_id bigint NOT NULL, embedding vector NOT NULL, PRIMARY KEY (index_id, chunk_id))",
    """
    ALTER TABLE search_chunk ADD COLUMN words tsvector GENERATED ALWAYS AS (
        setweight(to_tsvector('english', heading), 'A') || setweight(to_tsvector('english', text), 'B')
    ) STORED
    """,
    "CREATE INDEX search_chunk_words ON search_chunk USING gin (words)",
    "CREATE INDEX search_chunk_scope ON search_chunk (scope)",
]
POSTGRESQL_BACK = [
    "DROP INDEX search_chunk_scope",
    "DROP INDEX search_chunk_words",
    "ALTER TABLE search_chunk DROP COLUMN words",
    "DROP TABLE search_vector",
]


def _runner(sqlite, postgresql):
    def run(apps, schema_editor):
        for statement in postgresql if schema_editor.connection.vendor == "postgresql" else sqlite:
            schema_editor.execute(statement)

    return run


class Migration(migrations.Migration):
    dependencies = [("search", "0001_initial")]
    operations = [migrations.RunPython(_runner(SQLITE, POSTGRESQL), _runner(SQLITE_BACK, POSTGRESQL_BACK))]
