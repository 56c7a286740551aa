"""Chats: questions, answers that stream, Stop, Continue, and readers that come and go.

Invariants: a finished answer holds exactly the words that its model wrote; an interrupted one holds a beginning of them, up to the last
flush before its process died; a refused question leaves nothing behind; every answer ends; every reader sees what is stored.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ClassVar
from uuid import UUID

from django.db import Error

from chat import selectors, services
from chat.models import Conversation, Generation, LogRow, Message
from chat.services import Refused, Started
from chat.streaming import hub as hub_module
from chat.streaming.event_writer import INTERVAL
from chat.streaming.generation_state import GenerationState
from chat.streaming.hub import Hub
from tests.simulation.machine.clock import clock
from tests.simulation.machine.loop import outside_loop
from tests.simulation.machine.world import Process, ProcessDied
from tests.simulation.scenarios.base import Scenario
from tests.simulation.scenarios.reader import Reader
from tests.simulation.scenarios.writer import SimulatedWriter
from webapp.accounts.models import User
from webapp.patterns.errors import StreamBroken

Status = Message.Status
FLUSHED_SECONDS = INTERVAL + 3.5
"""Age at which a word must be in the log: an interval, and the slowest simulated thread."""


@dataclass
class Written:
    """The text and calls that a simulated model wrote into one answer.

    Attributes:
        base: the text that a continued answer had before.
        words: with the time of each.
        ended: whether it wrote all that it wanted to.
    """

    process: Process
    message: UUID
    base: str
    words: list[tuple[float, str]] = field(default_factory=list)
    ended: bool = False

    @property
    def text(self) -> str:
        return self.base + "".join(word for _, word in self.words)


class ChatScenario(Scenario):
    """Two users with a few conversations each."""

    name: ClassVar[str] = "chat"

    def prepare(self) -> None:
        self.people = [User.objects.create(username=name, password="!") for name in ("ada", "ben")]
        self.conversations = [(user, uuid.uuid4()) for user in self.people for _ in range(3)]
        self.hubs: dict[Process, Hub] = {}
        self.written: dict[UUID, Written] = {}
        self.accepted: dict[UUID, str] = {}
        self.refused: list[str] = []
        self.readers: list[Reader] = []

    @asynccontextmanager
    async def service(self, process: Process) -> AsyncGenerator[None, None]:
        hub = Hub(self._model(process), make_writer=SimulatedWriter)
        hub_module._hub = hub
        await hub.start()
        self.hubs[process] = hub
        try:
            yield
        finally:
            del self.hubs[process]
            await hub.stop()

    def _model(self, process: Process) -> hub_module.Runner:
        async def write(live: GenerationState, started: Started) -> None:
            base = "".join(part.text for part in live.answer.parts if part.kind == "text")
            truth = self.written[live.id] = Written(process, live.message_id, base)
            tag = live.id.hex[:4]
            await self.pause(2.0)
            for number in range(self.random.randint(1, 60)):
                word = f"w{tag}x{number} "
                live.apply({"k": "text", "d": word})
                truth.words.append((clock.elapsed, word))
                if self.random.random() < 0.7:
                    await self.pause(0.4)
            if self.random.random() < 0.05:
                raise StreamBroken("The server closed the connection.")
            if self.random.random() < 0.02:
                raise KeyError("a defect")
            truth.ended = True

        return write

    async def act(self, until: float) -> None:
        readers = [asyncio.ensure_future(self._read(until)) for _ in range(2)]
        await asyncio.gather(*(self._chat(user, until) for user in self.people for _ in range(2)))
        await asyncio.gather(*readers)

    async def _chat(self, user: User, until: float) -> None:
        own = [conversation for owner, conversation in self.conversations if owner is user]
        while clock.elapsed < until:
            await self.pause(8.0)
            conversation, server = self.random.choice(own), self.any_server()
            hub = self.hubs.get(server) if server else None
            if server is None or hub is None:
                continue
            action = self.random.choice([self._send, self._send, self._send, self._stop, self._regenerate])
            try:
                await action(server, hub, user, conversation)
            except (ProcessDied, Error, RuntimeError):
                continue  # the browser tells its user that the connection was lost

    async def _send(self, server: Process, hub: Hub, user: User, conversation: UUID) -> None:
        text = f"question {uuid.uuid4().hex}"
        await self._begin(
            server, hub, lambda: services.send_message(owner=hub.id, conversation_id=conversation, user=user, text=text), text
        )

    async def _begin(self, server: Process, hub: Hub, write: object, text: str) -> None:
        try:
            started: Started = await server.ask(lambda: hub.begin(write))  # type: ignore[arg-type]
        except (Refused, selectors.NotFound):
            self.refused.append(text)
        else:
            self.accepted[started.generation.id] = text

    async def _stop(self, server: Process, hub: Hub, user: User, conversation: UUID) -> None:
        await server.ask(lambda: hub.request_stop(conversation, user))

    async def _regenerate(self, server: Process, hub: Hub, user: User, conversation: UUID) -> None:
        answers = Message.objects.filter(conversation=conversation, role="assistant").order_by("created_at", "id")
        with outside_loop():
            ids = list(answers.values_list("id", "status"))
        if not ids:
            return
        message, status = self.random.choice(ids)
        if status in {Status.STOPPED, Status.INTERRUPTED}:
            await self._begin(server, hub, lambda: services.continue_answer(owner=hub.id, message_id=message, user=user), "")
        else:
            await self._begin(server, hub, lambda: services.regenerate_answer(owner=hub.id, message_id=message, user=user), "")

    async def _read(self, until: float) -> None:
        """Open conversations in a browser, each for a while, on any server; the last one stays open to the end."""
        while clock.elapsed < until:
            user, conversation = self.random.choice(self.conversations)
            reader = Reader(self, user, conversation)
            self.readers.append(reader)
            await self.pause(20.0)
            if clock.elapsed < until:
                reader.close()
                self.readers.remove(reader)

    def unsettled(self) -> str:
        if running := Generation.objects.filter(running=True).first():
            return f"the answer {running.message_id}"
        return next((why for reader in self.readers if (why := reader.lacks())), "")

    def check(self) -> None:
        generations = {one.id: one for one in Generation.objects.select_related("message")}
        lost = [str(one) for one in self.accepted if one not in generations]
        self.require(not lost, f"answers that were begun are lost: {lost}")
        left = LogRow.objects.values_list("generation_id", "seq").first()
        self.require(left is None, f"rows of the event log are left behind: {left}")
        self.require(not Message.objects.filter(status=Status.STREAMING).exists(), "an answer is left streaming")
        for text in filter(None, self.refused):
            self.require(not Message.objects.filter(text=text).exists(), f"a refused question was stored: {text}")
        for user, conversation in self.conversations:
            found = Conversation.objects.filter(id=conversation).first()
            self.require(found is None or found.user_id == user.pk, "a conversation changed hands")
        latest = {written.message: written for written in self.written.values()}
        for message in Message.objects.filter(role="assistant"):
            self._check_answer(message, latest.get(message.id))
        for reader in self.readers:
            self.require(not reader.lacks(), reader.lacks())

    def _check_answer(self, message: Message, truth: Written | None) -> None:
        told = "" if truth is None else truth.text
        if message.status == Status.DONE:
            self.require(truth is not None and truth.ended, f"{message.id} is done, but its model is not")
            self.require(message.text == told, f"{message.id} is done and holds {message.text!r} in place of {told!r}")
        elif message.status == Status.INTERRUPTED and truth is not None and truth.process.silent_since is not None:
            self._check_interrupted(message, truth)
        elif truth is not None:
            self.require(message.text == told, f"{message.id} was {message.status} and holds {message.text!r} in place of {told!r}")

    def _check_interrupted(self, message: Message, truth: Written) -> None:
        self.require(truth.text.startswith(message.text), f"{message.id} holds {message.text!r}, which {truth.text!r} does not begin with")
        died = truth.process.silent_since or clock.elapsed
        away = self.world.database_away(died - 60, died)
        old = truth.base + "".join(word for at, word in truth.words if at < died - FLUSHED_SECONDS - away)
        kept = len(message.text) - len(truth.base)
        lost = [f"{word} at {at:.3f}" for at, word in truth.words if (kept := kept - len(word)) < 0]
        self.require(
            message.text.startswith(old), f"{message.id} lacks {lost}, written long before {truth.process} fell silent at {died:.3f}"
        )
