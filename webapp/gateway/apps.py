from django.apps import AppConfig

from webapp.core import background


class GatewayConfig(AppConfig):
    name = "webapp.gateway"
    label = "gateway"

    def ready(self) -> None:
        from webapp.gateway import usage

        background.register("gateway", usage.service)
