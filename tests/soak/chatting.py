"""A person in the chat: a websocket client that knows what CONTRACT.md says, and no more."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from dataclasses import dataclass, field

import httpx2
import lxml.html
import websockets

from tests.soak.server import Server
from tests.soak.tally import Tally
from tests.soak.truth import answer, question

PATIENCE = 180.0
FRAME_SECONDS = 8.0
QUESTIONS_A_CHAT = 4
FLUSH_SECONDS = 1.0
"""A text that a person saw for this long is in the database."""
_STATUS = re.compile(r'data-testid="message-assistant" data-status="(\w+)"')
ENDED = ("done", "stopped", "interrupted", "failed")


@dataclass
class Turn:
    """A question on the page with the answers that follow it: (status, words)."""

    question: str
    answers: list[tuple[str, list[str]]] = field(default_factory=list)


def turns(html: str) -> list[Turn]:
    """The log of a conversation's page."""
    found: list[Turn] = []
    for article in lxml.html.fromstring(html).xpath("//*[@data-testid='message-user' or @data-testid='message-assistant']"):
        texts = [part.text_content() for part in article.xpath(".//*[@data-testid='message-text']")]
        if article.get("data-testid") == "message-user":
            found.append(Turn(" ".join(texts).strip()))
        else:
            found[-1].answers.append((article.get("data-status"), " ".join(texts).split()))
    return found


class Chatter:
    """Asks one question after the other, four to a conversation; on an answer that was cut, presses what the page offers."""

    def __init__(self, name: str, server: Server, tally: Tally) -> None:
        self.name, self._server, self._tally = name, server, tally
        self._http = httpx2.AsyncClient(base_url=server.live.url, timeout=20)
        self._seen: dict[int, float] = {}
        self.pressed: dict[str, int] = {}
        """How often an answer was asked for, by question: what the upstreams may have been asked at most."""

    async def run(self) -> None:
        signed_in = await asyncio.to_thread(self._server.live.sign_in, "owner")
        self._http.cookies.update(signed_in.cookies)
        number = 0
        while not self._server.over.is_set():
            conversation = uuid.uuid4()
            asked: list[str] = []
            for _ in range(QUESTIONS_A_CHAT):
                number += 1
                asked.append(f"chat-{self.name}-{number}")
                await self._bring_to_an_end(conversation, asked)
        await self._http.aclose()

    async def _bring_to_an_end(self, conversation: uuid.UUID, asked: list[str]) -> None:
        """Ask the last of `asked` until the page shows its whole answer."""
        action, deadline = "send", time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            await self._exchange(conversation, action, asked[-1])
            log = await self._page(conversation)
            action = self._judge(log, asked)
            if not action:
                self._tally.done["chat"] += 1
                return
        self._tally.lost.append(f"{asked[-1]}: no whole answer in {PATIENCE:.0f} s")

    def _judge(self, log: list[Turn], asked: list[str]) -> str:
        """Return the next step: none if the answer is there. Messages that the server never took are sent again."""
        shown = [turn.question for turn in log]
        wanted = [question(name) for name in asked]
        for text in set(wanted[:-1]) - set(shown):
            self._tally.lost.append(f"{text} is gone from the page")
        for text in {text for text in shown if shown.count(text) > 1}:
            self._tally.doubled.append(f"{text} is on the page {shown.count(text)} times")
        if wanted[-1] not in shown:
            return "send"
        answers = log[-1].answers
        if len(answers) != 1:
            (self._tally.doubled if answers else self._tally.lost).append(f"{asked[-1]} has {len(answers)} answers")
            return "" if answers else "regenerate"
        status, words = answers[0]
        return self._next(asked[-1], status, words)

    def _next(self, name: str, status: str, words: list[str]) -> str:
        right = answer(name)
        if status == "done":
            self._tally.compare(name, words, right)
            return ""
        self._tally.told[f"chat {status}"] += 1
        self._tally.compare(f"{name} ({status})", words, right[: len(words)])
        if status == "streaming":
            return "wait"
        if status == "interrupted":
            self._kept(name, words)
        return "continue" if status == "interrupted" else "regenerate"

    async def _page(self, conversation: uuid.UUID) -> list[Turn]:
        while True:
            try:
                response = await self._http.get(f"/chat/{conversation}/")
            except httpx2.HTTPError:
                await asyncio.sleep(0.3)
                continue
            if response.status_code == 404:
                return []
            if response.status_code == 200:
                return turns(response.text)
            self._tally.lost.append(f"the page answered {response.status_code}")
            await asyncio.sleep(0.3)

    async def _exchange(self, conversation: uuid.UUID, action: str, name: str) -> None:
        """Do it, and read frames until the answer has ended or the socket has."""
        try:
            async with self._connect(conversation) as socket:
                if action != "wait":
                    await socket.send(json.dumps({"body": {"action": action, "text": question(name) if action == "send" else ""}}))
                    self.pressed[name] = self.pressed.get(name, 0) + 1
                await self._read(socket, name, streaming=action == "wait")
        except (OSError, websockets.WebSocketException, httpx2.HTTPError):
            self._tally.told["chat socket closed"] += 1
            await asyncio.sleep(0.3)
        except TimeoutError:
            self._tally.told["chat waited in vain"] += 1

    def _connect(self, conversation: uuid.UUID) -> websockets.connect:
        live = self._server.live
        cookies = "; ".join(f"{name}={value}" for name, value in self._http.cookies.items())
        address = f"{live.url.replace('http', 'ws')}/ws/chat/{conversation}/"
        return websockets.connect(address, origin=websockets.Origin(live.url), additional_headers={"Cookie": cookies}, proxy=None)

    async def _read(self, socket: websockets.ClientConnection, name: str, *, streaming: bool) -> None:
        """Until a frame shows that the answer has ended; `streaming`: it had begun before, so its end may be the first thing seen."""
        self._seen = {}
        while True:
            content = json.loads(await asyncio.wait_for(socket.recv(), FRAME_SECONDS))["content"]
            statuses = _STATUS.findall(content)
            streaming = streaming or "streaming" in statuses
            for place in re.findall(rf"\b{re.escape(name)}\.(\d+)\b", content):
                self._seen.setdefault(int(place), time.monotonic())
            if streaming and statuses and statuses[-1] in ENDED:
                return

    def _kept(self, name: str, words: list[str]) -> None:
        """An interrupted answer has what its reader saw a while before the server was killed."""
        killed = self._server.kills[-1][0] if self._server.kills else 0.0
        gone = [place for place, at in self._seen.items() if at < killed - FLUSH_SECONDS and place >= len(words)]
        if gone:
            self._tally.lost.append(f"{name}: {len(gone)} words seen {FLUSH_SECONDS:.0f} s before the kill are not in the partial")
