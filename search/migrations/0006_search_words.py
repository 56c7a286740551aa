"""Index the tokens of `search.index.analysis` instead of the text itself: the same in SQLite and PostgreSQL, for every script.

A later migration that has SQLite rebuild search_chunk drops its triggers with the table: make them again there.
"""

from django.db import migrations, models

COLUMNS = "heading_words, text_words, word_parts, scope"
NEW = "new.heading_words, new.text_words, new.word_parts, new.scope"
OLD = "old.heading_words, old.text_words, old.word_parts, old.scope"
DROP_SQLITE = [
    "DROP TRIGGER IF EXISTS search_fulltext_changed",
    "DROP TRIGGER IF EXISTS search_fulltext_deleted",
    "DROP TRIGGER IF EXISTS search_fulltext_added",
    "DROP TABLE IF EXISTS search_fulltext",
]
CREATE_SQLITE = [
    f"""
    CREATE VIRTUAL TABLE search_fulltext USING fts5(
        {COLUMNS}, content='search_chunk', content_rowid='id', tokenize='unicode61 remove_diacritics 0'
    )
    """,
    f"""
    CREATE TRIGGER search_fulltext_added AFTER INSERT ON search_chunk BEGIN
        INSERT INTO search_fulltext (rowid, {COLUMNS}) VALUES (new.id, {NEW});
    END
    """,
    f"""
    CREATE TRIGGER search_fulltext_deleted AFTER DELETE ON search_chunk BEGIN
        INSERT INTO search_fulltext (search_fulltext, rowid, {COLUMNS}) VALUES ('delete', old.id, {OLD});
    END
    """,
    f"""
    CREATE TRIGGER search_fulltext_changed AFTER UPDATE OF {COLUMNS} ON search_chunk BEGIN
        INSERT INTO search_fulltext (search_fulltext, rowid, {COLUMNS}) VALUES ('delete', old.id, {OLD});
        INSERT INTO search_fulltext (rowid, {COLUMNS}) VALUES (new.id, {NEW});
    END
    """,
    "INSERT INTO search_fulltext (search_fulltext) VALUES ('rebuild')",
]
DROP_POSTGRESQL = ["DROP INDEX IF EXISTS search_chunk_words", "ALTER TABLE search_chunk DROP COLUMN IF EXISTS words"]
CREATE_POSTGRESQL = [
    """
    ALTER TABLE search_chunk ADD COLUMN words tsvector GENERATED ALWAYS AS (
        setweight(to_tsvector('simple', heading_words), 'A') || setweight(to_tsvector('simple', text_words), 'B')
        || setweight(to_tsvector('simple', word_parts), 'D')
    ) STORED
    """,
    "CREATE INDEX search_chunk_words ON search_chunk USING gin (words)",
]
BATCH = 1000


def _run(schema_editor, sqlite, postgresql):
    for statement in postgresql if schema_editor.connection.vendor == "postgresql" else sqlite:
        schema_editor.execute(statement)


def drop(apps, schema_editor):
    _run(schema_editor, DROP_SQLITE, DROP_POSTGRESQL)


def create(apps, schema_editor):
    _run(schema_editor, CREATE_SQLITE, CREATE_POSTGRESQL)


def fill(apps, schema_editor):
    """Give the passages that there are their tokens."""
    from search.index.analysis import index_words

    chunks = apps.get_model("search", "Chunk").objects.using(schema_editor.connection.alias)
    last = 0
    while batch := list(chunks.filter(pk__gt=last).order_by("pk").only("heading", "text")[:BATCH]):
        for chunk in batch:
            words = index_words(chunk.heading, chunk.text)
            chunk.heading_words, chunk.text_words, chunk.word_parts = words.heading, words.text, words.parts
        chunks.bulk_update(batch, ["heading_words", "text_words", "word_parts"], batch_size=200)
        last = batch[-1].pk


class Migration(migrations.Migration):
    dependencies = [("search", "0005_document_notes")]
    operations = [
        migrations.RunPython(drop, migrations.RunPython.noop),
        migrations.AddField("chunk", "heading_words", models.TextField(blank=True, default="", editable=False)),
        migrations.AddField("chunk", "text_words", models.TextField(blank=True, default="", editable=False)),
        migrations.AddField("chunk", "word_parts", models.TextField(blank=True, default="", editable=False)),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RunPython(create, migrations.RunPython.noop),
    ]
