"""Choose, read, and write assistants. Where a model's name can be chosen, `assistant:<id>` chooses an assistant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q, QuerySet

from chat.models import ASSISTANT, Assistant, Conversation
from chat.selectors import NotFound
from webapp.accounts.models import User
from webapp.core.keysets import following

PART = 60
"""Assistants that the page shows at a time."""
MAX_OFFERED = 100
"""Assistants in the model picker. The page lists all."""
MAX_STARTERS = 6
ORDER = ("name", "id")


def visible(user: User) -> QuerySet[Assistant]:
    """Return the user's own assistants and those shared with them, by name."""
    in_group = Assistant.groups.through.objects.filter(group__in=user.groups.all()).values("assistant")
    return Assistant.objects.filter(Q(user=user) | Q(shared=True) | Q(id__in=in_group)).select_related("user").order_by(*ORDER)


def find(assistant_id: UUID, user: User) -> Assistant:
    """Return an assistant that the user may choose. Raises `NotFound`."""
    found = visible(user).filter(id=assistant_id).first()
    if found is None:
        raise NotFound(str(assistant_id))
    return found


def own(assistant_id: UUID, user: User) -> Assistant:
    """Return an assistant that the user may change. Raises `NotFound`."""
    found = Assistant.objects.filter(id=assistant_id, user=user).first()
    if found is None:
        raise NotFound(str(assistant_id))
    return found


def page(user: User, query: str = "", after: UUID | None = None) -> tuple[list[Assistant], Assistant | None]:
    """Return a part of the list, and its last assistant if there are more.

    Args:
        query: text that the name or the description contains.
        after: the last assistant of the part before.
    """
    rows = visible(user)
    if query:
        rows = rows.filter(Q(name__icontains=query) | Q(description__icontains=query))
    if after:
        last = find(after, user)
        rows = rows.filter(following(ORDER, (last.name, last.id)))
    found = list(rows[: PART + 1])
    return found[:PART], found[PART - 1] if len(found) > PART else None


def offered(user: User, chosen: Assistant | None = None) -> list[Assistant]:
    """Return the assistants of the model picker: the first by name, and the one that is chosen."""
    found = list(visible(user)[:MAX_OFFERED])
    return found if chosen is None or chosen in found else [chosen, *found]


def choose(conversation: Conversation, choice: str) -> bool:
    """Have a conversation of `conversation.user` use a model, or an assistant with its settings; return whether this changes it.

    The caller saves the conversation. One that uses the assistant already keeps its settings, which its user may have changed. A model
    ends the use of an assistant; settings that came from the assistant go with it. Raises `NotFound`.
    """
    before = conversation.assistant
    if choice.startswith(ASSISTANT):
        wanted = _parse(choice)
        if before and before.id == wanted:
            return False
        chosen = find(wanted, conversation.user)
        conversation.assistant, conversation.model = chosen, chosen.model
        conversation.system_prompt, conversation.options = chosen.system_prompt, dict(chosen.options)
        return True
    if before and (conversation.system_prompt, conversation.options) == (before.system_prompt, before.options):
        conversation.system_prompt, conversation.options = conversation.user.system_prompt, {}
    changed = before is not None or conversation.model != choice
    conversation.assistant, conversation.model = None, choice
    return changed


CHOSEN = ("model", "assistant", "system_prompt", "options")
"""The fields that `choose` sets."""


def _parse(choice: str) -> UUID:
    try:
        return UUID(choice.removeprefix(ASSISTANT))
    except ValueError:
        raise NotFound(choice) from None


@transaction.atomic
def save_assistant(
    *, user: User, assistant: Assistant | None, groups: Iterable[Group], starters: Sequence[str], **fields: Any
) -> Assistant:
    """Create an assistant of the user's, or change one. Conversations that use it keep the settings that they took from it."""
    assistant = assistant or Assistant(user=user)
    for name, value in fields.items():
        setattr(assistant, name, value)
    assistant.starters = list(starters)
    assistant.save()
    assistant.groups.set(groups)
    return assistant


def delete_assistant(*, assistant: Assistant) -> None:
    """Delete an assistant. Conversations that use it keep its settings."""
    assistant.delete()
