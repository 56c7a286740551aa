from django.apps import AppConfig


class BuiltinConfig(AppConfig):
    name = "webapp.builtin"
    label = "builtin"
