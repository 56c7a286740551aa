"""The chat as an app."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from django.apps import AppConfig

from webapp import background


class ChatConfig(AppConfig):
    name = "chat"
    label = "chat"

    def ready(self) -> None:
        """Have the hub run in every server process."""
        background.register("chat", _hub)


def _hub() -> AbstractAsyncContextManager[None]:
    from chat.generate import write
    from chat.hub import running
    from chat.titles import entitle

    return running(write, entitle)
