"""Add the companion of a collection's serving index."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("search", "0010_sources")]
    operations = [
        migrations.AddField(
            "collection",
            "companion",
            models.OneToOneField(
                blank=True,
                editable=False,
                help_text="Ranks beside the serving one.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="search.index",
            ),
        ),
    ]
