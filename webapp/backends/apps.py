from django.apps import AppConfig


class BackendsConfig(AppConfig):
    name = "webapp.backends"
    label = "backends"
