"""End shared pages where they were shared. Links that exist already keep following their conversation, as their owners know them."""

import django.db.models.deletion
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def keep_live(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Let conversations that are shared already stay live."""
    conversations = apps.get_model("chat", "Conversation").objects.using(schema_editor.connection.alias)
    conversations.exclude(share_token=None).update(share_live=True)


class Migration(migrations.Migration):
    dependencies = [("chat", "0010_assistants")]

    operations = [
        migrations.AddField(
            model_name="conversation",
            name="share_live",
            field=models.BooleanField(blank=True, null=True, help_text="The shared page follows the conversation."),
        ),
        migrations.AddField(
            model_name="conversation",
            name="share_leaf",
            field=models.ForeignKey(
                blank=True,
                help_text="Where the shared page ends if it is not live.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="chat.message",
            ),
        ),
        migrations.RunPython(keep_live, migrations.RunPython.noop),
    ]
