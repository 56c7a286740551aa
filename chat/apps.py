"""The chat as an app."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "chat"
    label = "chat"
