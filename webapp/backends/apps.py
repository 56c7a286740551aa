from collections.abc import Iterator

from django.apps import AppConfig

from webapp.findings import Finding


class BackendsConfig(AppConfig):
    name = "webapp.backends"
    label = "backends"
    verbose_name = "Configuration"

    def ready(self) -> None:
        from webapp import background
        from webapp.backends import polling, registry, retention, signals

        signals.connect()
        background.register("backends", registry.service)
        background.register("health", polling.service)
        background.register("retention", retention.service)

    def prepare(self) -> None:
        """The first rows (`webapp.server.prepare`)."""
        from webapp.backends import services

        services.seed()

    def examine(self) -> Iterator[Finding]:
        """What `manage.py doctor` says of the backends and routes."""
        from webapp.backends import examine

        return examine.findings()
