from django.apps import AppConfig


class ToolServersConfig(AppConfig):
    name = "webapp.toolservers"
    label = "toolservers"
    verbose_name = "Tool servers"

    def ready(self) -> None:
        from webapp.core import background
        from webapp.ports import toolbox
        from webapp.toolservers import health, toolset

        toolbox.register_provider(toolset.offers)
        background.register("tool servers", health.service)
