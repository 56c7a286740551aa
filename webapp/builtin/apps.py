"""The app of the built-in backend."""

from django.apps import AppConfig


class BuiltinConfig(AppConfig):
    """Configure the built-in backend."""

    name = "webapp.builtin"
    label = "builtin"
