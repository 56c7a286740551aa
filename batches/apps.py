from django.apps import AppConfig


class BatchesConfig(AppConfig):
    name = "batches"
    label = "batches"

    def ready(self) -> None:
        from django.db.models.signals import post_delete

        from batches import api, files, runner, tool
        from batches.models import File
        from webapp import background
        from webapp.backends import api_registry
        from webapp.backends.toolbox import toolbox

        post_delete.connect(files.forget_bytes, sender=File, dispatch_uid="batches.File")
        background.register("batches", runner.service)
        api_registry.register(files=api.Files(), batches=api.Batches())
        toolbox.tool(tool.get_batch_status)
