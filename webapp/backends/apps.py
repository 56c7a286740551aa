"""The backends app."""

from collections.abc import Iterator

from django.apps import AppConfig
from django.utils.translation import gettext_lazy

from webapp.core.findings import Finding


class BackendsConfig(AppConfig):
    """Configure the backends app."""

    name = "webapp.backends"
    label = "backends"
    verbose_name = gettext_lazy("Configuration")

    def ready(self) -> None:
        """Register the signals, the tools and the background tasks."""
        from webapp.backends import signals
        from webapp.backends.reporting import retention
        from webapp.backends.rollouts import canary
        from webapp.backends.runtime import gauges, polling, registry, tools
        from webapp.core import background
        from webapp.ports.toolbox import toolbox

        signals.connect()
        tools.register(toolbox)
        gauges.connect()
        background.register("backends", registry.service)
        background.register("health", polling.service)
        background.register("retention", retention.service)
        background.register("canaries", canary.service)

    def prepare(self) -> None:
        """Create the first rows (`webapp.server.startup`)."""
        from webapp.backends import services

        services.seed()

    def examine(self) -> Iterator[Finding]:
        """Return the findings of `manage.py doctor` about backends and routes."""
        from webapp.backends.reporting import health_checks

        return health_checks.findings()
