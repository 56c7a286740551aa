"""Subscribe one socket to one conversation: track what was sent, and send the difference to the present state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from uuid import UUID

from chat import selectors
from chat.html import fragments
from chat.html.answer_html import Cursor, frame
from chat.models import Conversation, Generation
from chat.selectors import SocketSession
from chat.streaming.generation_state import GenerationState
from webapp.accounts.models import User
from webapp.core.database import in_database

MAX_WAITING = 64
"""Frames that are queued for a slow socket. Beyond that it gets the whole state instead."""


class Hub(Protocol):
    """Name what an attachment needs of the hub of its process."""

    def attach(self, attachment: Attachment) -> None:
        """Register a reader of its conversation."""

    def detach(self, attachment: Attachment) -> None:
        """Forget a reader."""

    async def lives_of(self, conversation_id: UUID, running: Sequence[Generation]) -> list[GenerationState]:
        """Return the running generations of a conversation; `running` are its rows."""
        ...


class Attachment:
    """A reader of a conversation.

    Args:
        send: sends one text frame, and returns when the client has room for the next.
        close: closes the socket with a code.
        session: the sign-in that opened the socket, checked every few seconds.
        seen: the stamp of the state that the client already has, if any.
    """

    def __init__(
        self,
        hub: Hub,
        conversation_id: UUID,
        user: User,
        *,
        send: Callable[[str], Awaitable[None]],
        close: Callable[[int], Awaitable[None]],
        seen: str = "",
        session: SocketSession | None = None,
    ) -> None:
        self.conversation_id = conversation_id
        self.user = user
        self.session = session or SocketSession(user.pk)
        self._hub = hub
        self._send, self._close = send, close
        self._stale = True
        self._reading = False
        self._seen = seen
        self._closing = False
        self._waiting: list[str] = []
        self._following: dict[GenerationState, Cursor] = {}
        self._notes: dict[GenerationState, int] = {}
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Learn that there are new events to send."""
        self._news.set()

    def refresh(self) -> None:
        """Send the whole state again."""
        self._stale = True
        self.wake()

    def post(self, text: str) -> None:
        """Queue a frame after the frames sent so far."""
        self._waiting.append(text)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.clear()
            self._stale = True
        self.wake()

    def begin(self, html: str, live: GenerationState) -> None:
        """Append the `html` of a new answer to the log, and follow the answer from its start."""
        if self._reading:
            self._stale = True  # the snapshot being read may miss it, so read again
        if self._stale:
            return
        self.post(frame(html, fragments.LOG, "beforeend"))
        self._follow(live, Cursor(live.view.epoch))

    def cut(self) -> None:
        """End the socket: its session is over."""
        self._closing = True
        self.wake()

    async def pump(self) -> None:
        """Send frames for as long as the socket lives."""
        self._hub.attach(self)
        self.wake()
        try:
            while not self._closing:
                await self._news.wait()
                self._news.clear()
                await self._step()
            await self._close(4401)
        finally:
            self._hub.detach(self)
            for live in self._following:
                live.readers.discard(self)

    async def _step(self) -> None:
        while self._stale and not self._closing:
            self._stale = False
            await self._send_state()
        while self._waiting and not self._closing:
            await self._send(self._waiting.pop(0))
        for live in tuple(self._following):
            await self._send_live(live)

    async def _send_live(self, live: GenerationState) -> None:
        if live.finished_article is not None:
            self._unfollow(live)
            if live.finished_article:
                await self._send(frame(live.finished_article, f"#m-{live.view.key}", "outerMorph"))
            return
        cursor = self._following.get(live)
        if cursor is None or not live.readable:
            return
        if cursor.epoch != live.view.epoch:
            self._stale = True
            self.wake()
            return
        for text in live.view.frames(cursor):
            await self._send(text)
        if self._notes.get(live) != live.note_version:
            self._notes[live] = live.note_version
            await self._send(fragments.note_frame(live.message_id, live.note))

    async def _send_state(self) -> None:
        """Send the log as one replacement, and follow running answers from that state."""
        self._reading = True
        found = await in_database(_load, self.conversation_id, self.user)
        lives = await self._hub.lives_of(self.conversation_id, found[1] if found else ())
        self._reading = False
        if found is None or self._stale:
            return
        conversation, _running, page = found
        seen, self._seen = self._seen, ""
        if seen == fragments.stamp(conversation) and not lives:
            return
        known = {live.message_id: live for live in lives if not live.finished and live.readable}
        shown = [message for turn in page.turns for message in (turn.message, *turn.beside)]
        if any(message.status == "streaming" and message.id not in known for message in shown):
            self._stale = True  # it began or ended during the read
            await asyncio.sleep(0.02)
            return
        for other in tuple(self._following) if known else ():
            self._unfollow(other)
        articles = [fragments.group(turn, lambda turn: self._article(turn, known)) for turn in page.turns]
        content = fragments.earlier(page, conversation) + "".join(articles)
        await self._send(frame(content, fragments.LOG, "innerMorph"))

    def _article(self, turn: selectors.Turn, known: dict[UUID, GenerationState]) -> str:
        if turn.message.status != "streaming":
            return fragments.article(turn)
        live = known[turn.message.id]
        self._follow(live, live.view.cursor())
        self._notes[live] = live.note_version
        return fragments.article(turn, body=live.view.html(), note=live.note)

    def _follow(self, live: GenerationState, cursor: Cursor) -> None:
        self._following[live] = cursor
        live.readers.add(self)

    def _unfollow(self, live: GenerationState) -> None:
        self._following.pop(live, None)
        self._notes.pop(live, None)
        live.readers.discard(self)


def _load(conversation_id: UUID, user: User) -> tuple[Conversation, list[Generation], selectors.Page] | None:
    """Return a conversation with its running generations and the last messages. The generations are read first: they may end meanwhile."""
    conversation = Conversation.objects.filter(id=conversation_id, user=user).first()
    return (conversation, selectors.running(conversation_id), selectors.page(conversation)) if conversation else None
