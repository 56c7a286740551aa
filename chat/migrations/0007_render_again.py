"""Forget the rendered answers: they are rendered again, with formulas, reasoning and code blocks as the renderer draws them now."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def forget_html(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("chat", "Message").objects.using(schema_editor.connection.alias).exclude(html="").update(html="")


class Migration(migrations.Migration):
    dependencies = [("chat", "0006_uploads")]

    operations = [migrations.RunPython(forget_html, migrations.RunPython.noop, elidable=True)]
