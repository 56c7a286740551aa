"""The batches app."""

from django.apps import AppConfig


class BatchesConfig(AppConfig):
    """Configure the batches app."""

    name = "batches"
    label = "batches"

    def ready(self) -> None:
        """Register the batch API, the tools, the runner and the deletion of files."""
        from django.db.models.signals import post_delete

        from batches import api, tool
        from batches.execution import runner
        from batches.input import files
        from batches.models import File
        from webapp.core import background
        from webapp.ports import files_and_batches
        from webapp.ports.toolbox import toolbox

        post_delete.connect(files.forget_bytes, sender=File, dispatch_uid="batches.File")
        background.register("batches", runner.service)
        files_and_batches.register(files=api.Files(), batches=api.Batches())
        toolbox.tool(tool.get_batch_status)
