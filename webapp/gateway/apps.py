"""The gateway app."""

from django.apps import AppConfig

from webapp.core import background


class GatewayConfig(AppConfig):
    """Configure the gateway."""

    name = "webapp.gateway"
    label = "gateway"

    def ready(self) -> None:
        """Register the background tasks of the gateway."""
        from webapp.gateway import usage
        from webapp.gateway.mcp import asgi as mcp
        from webapp.gateway.responses import jobs

        background.register("gateway", usage.service)
        background.register("mcp", mcp.service)
        background.register("responses", jobs.service)
