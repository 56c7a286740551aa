"""The tool servers app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy


class ToolServersConfig(AppConfig):
    """Configure the tool servers app."""

    name = "webapp.toolservers"
    label = "toolservers"
    verbose_name = gettext_lazy("Tool servers")

    def ready(self) -> None:
        """Register the ports and the health checks."""
        from webapp.core import background
        from webapp.ports import tool_servers, toolbox
        from webapp.toolservers import health, toolset
        from webapp.toolservers.responses import ResponsesTools

        toolbox.register_provider(toolset.offers)
        tool_servers.register(ResponsesTools)
        background.register("tool servers", health.service)
