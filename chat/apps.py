"""The chat app."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from django.apps import AppConfig
from django.db.models.signals import post_delete

from webapp.core import background


class ChatConfig(AppConfig):
    """Configure the chat app."""

    name = "chat"
    label = "chat"

    def ready(self) -> None:
        """Run the hub in every server process, and delete the bytes of uploads with their rows."""
        from chat import uploads
        from chat.models import Upload
        from chat.prompt_library import Library
        from chat.transfer.drafts import open_chat
        from webapp.ports import chats, prompt_library

        post_delete.connect(uploads.forget_bytes, sender=Upload, dispatch_uid="chat.Upload")
        prompt_library.register(Library())
        chats.register(open_chat)
        background.register("chat", _hub)
        background.register("chat uploads", uploads.service)


def _hub() -> AbstractAsyncContextManager[None]:
    from chat.generation.generate import write
    from chat.generation.titles import generate_title
    from chat.streaming.hub import running

    return running(write, generate_title)
