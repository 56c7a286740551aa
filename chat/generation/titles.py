"""Generate titles: a model titles the conversation after its first answer. Until then its first words are the title."""

from __future__ import annotations

import asyncio
import logging
import uuid

from pydantic import BaseModel, Field

from chat.models import Conversation, Message
from webapp.accounts.models import User
from webapp.backends.runtime import registry
from webapp.core.database import in_database
from webapp.patterns.errors import PatternError
from webapp.patterns.types import AttemptLog, Request

logger = logging.getLogger("patchbay.chat")
SECONDS = 30
EXCERPT = 2000
BUILTIN = "builtin"


class Title(BaseModel):
    """The required fields of a title."""

    title: str = Field(description="At most six words, in the conversation's language, without quotes or a full stop.", max_length=120)


async def generate_title(message: Message) -> str:
    """Return a title for the conversation of a complete answer; empty if it has one already, or no model gives one."""
    if not _may_be_titled(message):
        return ""
    asked = await in_database(_first_turn, message)
    if asked is None:
        return ""
    conversation, question, answer = asked
    try:
        async with asyncio.timeout(SECONDS):
            return await _ask(conversation.model, conversation.user, question, answer)
    except (PatternError, TimeoutError) as error:
        logger.info("No model named the conversation: %s", error)
        return ""


def _may_be_titled(answer: Message) -> bool:
    """Return whether the answer is whole, its conversation had no title when it began, and a model other than the built-in one wrote it."""
    if answer.conversation.titled or answer.parent_id is None or answer.status != Message.Status.DONE:
        return False
    served = [attempt for attempt in answer.trail if attempt["outcome"] == "ok"]
    return bool(served) and served[-1]["backend"] != BUILTIN


def _first_turn(answer: Message) -> tuple[Conversation, str, str] | None:
    """Return the conversation, its first question, and answer; None if it has a title by now, or this is not the first answer."""
    question = Message.objects.select_related("conversation__user").filter(children=answer, parent=None).first()
    if question is None or question.conversation.titled or (answer.compare and question.conversation.leaf_id != answer.id):
        return None
    return question.conversation, question.text[:EXCERPT], answer.text[:EXCERPT]


async def _ask(model: str, user: User, question: str, answer: str) -> str:
    from webapp.patterns.agent.structured import parse

    chain = await registry.resolve(model, user=user)
    prompt = f"Give this conversation a title.\n\n<question>\n{question}\n</question>\n\n<answer>\n{answer}\n</answer>"
    request, trail = Request.chat([{"role": "user", "content": prompt}], max_tokens=200), AttemptLog()
    try:
        return (await parse(chain, request, Title, attempts=2, trail=trail)).value.title
    finally:
        registry.record(trail, request_id=uuid.uuid4(), source="chat", user_id=user.pk, route=model)
