"""The project as an app, with its commands, static files, and template tags."""

import os

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Tags, register


class WebappConfig(AppConfig):
    """Configure the project-wide app."""

    name = "webapp"
    label = "webapp"

    def ready(self) -> None:
        """Register the database checks and tune the garbage collector."""
        from webapp.core import background
        from webapp.server import database_checks, gc_tuning

        register(database_checks.encoding, Tags.database)
        background.register("heap", gc_tuning.service)
        # tiktoken reads this variable when it loads a vocabulary. Ours is local, so counting works offline.
        os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(settings.PATCHBAY_HOME / "vocabulary"))
