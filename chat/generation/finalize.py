"""Store the complete answer at its end, even if the database rejects parts of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from chat import services
from chat.models import Message
from chat.services import Outcome, Status
from chat.streaming.event_writer import Writer
from chat.streaming.generation_state import GenerationState
from webapp.core.database import DB_UNAVAILABLE

logger = logging.getLogger("patchbay.chat")
RETRY_SECONDS = 2.0
T = TypeVar("T")


async def keep(writer: Writer, live: GenerationState, html: str, *, stopping: Callable[[], bool]) -> Message | None:
    """Store the complete answer, or the part that the database accepts.

    Returns None if the answer was ended elsewhere or nothing is accepted.
    """
    parts, failed = live.answer.as_json(), Outcome(status=Status.FAILED, error=services.REFUSED)
    for write in (
        partial(services.finish_generation, generation_id=live.id, parts=parts, outcome=live.outcome, html=html),
        partial(services.finish_generation, generation_id=live.id, parts=parts, outcome=failed, html=html),
        partial(services.finish_generation, generation_id=live.id, parts=[], outcome=failed, html=""),
    ):
        try:
            return await _insist(writer, write, stopping)
        except DB_UNAVAILABLE:
            raise
        except Exception:
            logger.exception("The database refused an answer")
    return None


async def _insist(writer: Writer, write: Callable[[], T], stopping: Callable[[], bool]) -> T:
    """Write; while the database is down, wait and retry."""
    while True:
        try:
            return await writer.call(write)
        except DB_UNAVAILABLE as error:
            if stopping():
                raise
            logger.error("An answer waits for the database: %s", error)  # noqa: TRY400 - every few seconds
            await asyncio.sleep(RETRY_SECONDS)
