from django.apps import AppConfig

from webapp.core import background


class GatewayConfig(AppConfig):
    name = "webapp.gateway"
    label = "gateway"

    def ready(self) -> None:
        from webapp.gateway import usage
        from webapp.gateway.mcp import asgi as mcp
        from webapp.gateway.responses import jobs

        background.register("gateway", usage.service)
        background.register("mcp", mcp.service)
        background.register("responses", jobs.service)
