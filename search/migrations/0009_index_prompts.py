"""Add the prompts of an index, and pin existing indexes of the default route to the model that made their vectors.

The route changes to the multilingual model (webapp/backends/services/seeding.py). A pinned index keeps working.
"""

from django.db import migrations, models

BUILTIN = "builtin"
FORMER_MODEL = "all-MiniLM-L6-v2"


def pin(apps, schema_editor):
    indexes = apps.get_model("search", "Index").objects.using(schema_editor.connection.alias)
    indexes.filter(model="embed", answered_by=FORMER_MODEL).update(model=f"{BUILTIN}/{FORMER_MODEL}")


class Migration(migrations.Migration):
    dependencies = [("search", "0008_documents_page")]
    operations = [
        migrations.AddField(
            "index",
            "query_prompt",
            models.CharField(blank=True, default="", editable=False, max_length=200, help_text="Put in front of a query before it is embedded."),
        ),
        migrations.AddField(
            "index",
            "passage_prompt",
            models.CharField(blank=True, default="", editable=False, max_length=200, help_text="Put in front of a passage before it is embedded."),
        ),
        migrations.RunPython(pin, migrations.RunPython.noop),
    ]
