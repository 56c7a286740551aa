from django.apps import AppConfig


class BatchesConfig(AppConfig):
    name = "batches"
    label = "batches"

    def ready(self) -> None:
        from batches import api, runner, tool
        from webapp import background
        from webapp.backends import api_registry
        from webapp.backends.toolbox import toolbox

        background.register("batches", runner.service)
        api_registry.register(files=api.Files(), batches=api.Batches())
        toolbox.tool(tool.get_batch_status)
