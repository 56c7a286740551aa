"""Open a conversation that another app holds as a chat."""

from __future__ import annotations

from django.urls import reverse
from django.utils import timezone

from chat.models import Conversation
from chat.transfer.conversations import Imported, Turn
from chat.transfer.import_writer import conversation_id, import_conversations
from webapp.accounts.models import User
from webapp.ports.chats import ChatDraft


def open_chat(user: User, draft: ChatDraft) -> str:
    """Import the draft, unless it was imported before, and return the address of its page."""
    now = timezone.now()
    turns = [
        Turn(key=str(number), parent=str(number - 1) if number else None, role=turn.role, text=turn.text, model=turn.model, at=now)
        for number, turn in enumerate(draft.turns)
    ]
    imported = Imported(source=draft.source, title=draft.title, turns=turns, leaf=None, at=now, system_prompt=draft.system_prompt)
    if import_conversations(user=user, found=[imported]) and draft.model:
        Conversation.objects.filter(pk=conversation_id(user, imported)).update(model=draft.model)
    return reverse("chat:conversation", args=[conversation_id(user, imported)])
