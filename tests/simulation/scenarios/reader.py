"""A browser that has a conversation open: it reconnects when its server dies, and must show what is stored."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID

from chat import selectors
from chat.html.answer_html import key
from chat.models import Conversation
from chat.streaming.subscription import Attachment
from tests.simulation.machine.world import Process, ProcessDied
from webapp.accounts.models import User

if TYPE_CHECKING:
    from tests.simulation.scenarios.chat import ChatScenario

ARTICLE = re.compile(r'<article[^>]*\bid="m-([0-9a-f]{16})"')
WORD = re.compile(r"\bw[0-9a-f]{4}x\d+\b")
"""A word of a simulated model."""
RECONNECT_SECONDS = 1.0


class _Attachment(Attachment):
    """An attachment whose hash is its number: sets of attachments then have the same order in each run."""

    _numbers = count()

    def __hash__(self) -> int:
        return hash(self._number)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._number = next(_Attachment._numbers)
        super().__init__(*arguments, **options)

    def __eq__(self, other: object) -> bool:
        return self is other


class Reader:
    """One open page. `articles` holds the whole messages that it shows, by the beginning of their id."""

    def __init__(self, scenario: ChatScenario, user: User, conversation: UUID) -> None:
        self.articles: dict[str, str] = {}
        self._scenario, self._user, self._conversation = scenario, user, conversation
        self._socket: tuple[Process, asyncio.Task[Any]] | None = None
        self._task = scenario.world.users.loop.create_task(self._run())

    def close(self) -> None:
        """Close the page."""
        self._task.cancel()
        if self._socket and self._socket[0].alive:
            process, pump = self._socket
            process.loop.call_soon(pump.cancel)

    async def _run(self) -> None:
        while True:
            server = self._scenario.any_server()
            if server is not None and server in self._scenario.hubs:
                with contextlib.suppress(ProcessDied):
                    await server.ask(partial(self._attached, server))
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _attached(self, server: Process) -> None:
        """Send frames to the page, in the server's process, until the socket ends."""
        hub = self._scenario.hubs.get(server)
        if hub is None:
            return
        attachment = _Attachment(hub, self._conversation, self._user, send=self._take, close=self._closed)
        pump = asyncio.ensure_future(attachment.pump())
        self._socket = server, pump
        await asyncio.gather(pump, return_exceptions=True)

    async def _closed(self, code: int) -> None:
        return

    async def _take(self, text: str) -> None:
        """Apply one frame, as far as whole messages are concerned."""
        frame = json.loads(text)
        target, swap, content = frame["target"], frame["swap"], frame["content"]
        self._scenario.world.note(f"frame {target} {swap} {len(content)}")
        if target == "#chat-log":
            self.articles = _articles(content) if swap == "innerMorph" else self.articles | _articles(content)
        elif target.startswith("#m-"):
            self.articles |= _articles(content)
        await asyncio.sleep(0.001)

    def lacks(self) -> str:
        """Return which stored message the page does not show; empty if it shows all."""
        conversation = Conversation.objects.filter(id=self._conversation).first()
        if conversation is None:
            return ""
        for turn in selectors.page(conversation).turns:
            shown = self.articles.get(key(turn.message.id))
            if shown is None:
                return f"a reader of {self._conversation} lacks the message {turn.message.id}"
            if turn.message.role == "assistant" and self._words(shown) != self._words(turn.message.text):
                return f"a reader of {self._conversation} does not show the stored words of {turn.message.id}"
        return ""

    def _words(self, text: str) -> list[str]:
        return WORD.findall(text)


def _articles(content: str) -> dict[str, str]:
    starts = [(found.start(), found[1]) for found in ARTICLE.finditer(content)]
    ends = [start for start, _ in starts[1:]] + [len(content)]
    return {name: content[start:end] for (start, name), end in zip(starts, ends, strict=True)}
