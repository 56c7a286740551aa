"""Own every running generation of this process, the sockets that watch, and the notifications to other processes.

A generation is a task of its own, independent of sockets. The log in the database is the record; the channel layer only says "there is
more".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, TypeVar
from uuid import UUID

from channels.layers import get_channel_layer
from django.db import Error
from django.utils.translation import gettext as _

from chat import selectors, services, sidebar
from chat.generation.finalize import keep
from chat.html import fragments
from chat.models import Conversation, Generation, Message
from chat.selectors import SocketSession
from chat.services import Refused, Started, Status
from chat.streaming.event_writer import Writer
from chat.streaming.generation_state import GenerationState
from chat.streaming.notifications import GROUP, nudge_all
from chat.streaming.subscription import Attachment
from webapp.core import background, leases, threads
from webapp.core.database import DB_UNAVAILABLE, in_database
from webapp.core.leases import SilenceWatch
from webapp.patterns.errors import PatternError
from webapp.server.channel_layer import LAYER_ERRORS

logger = logging.getLogger("patchbay.chat")
T = TypeVar("T")
HEARTBEAT_SECONDS = 2.0
SILENCE_SECONDS = 6.0
"""A process that gives no sign of life for this long is dead, and its answers are interrupted."""
POLL_SECONDS = 1.0
RETRY_SECONDS = 2.0
AT_ONCE = 2
"""Answers that are finalized, and conversations that are titled, at the same time. That work can wait; other streams cannot."""

Runner = Callable[[GenerationState, Started], Awaitable[None]]
Entitle = Callable[[Message], Awaitable[str]]
"""Called with a complete answer; returns a title for its conversation, or an empty text."""


class Hub:
    """The hub of a process.

    Args:
        runner: writes one answer into a `GenerationState` and records its result in `live.outcome`.
        entitle: called with each complete answer.
        make_writer: makes the writer of the event log. The simulation (`tests.simulation`) has one without a thread.
    """

    def __init__(self, runner: Runner, entitle: Entitle | None = None, make_writer: type[Writer] = Writer) -> None:
        self.id = uuid.uuid4()
        self.lives: dict[UUID, GenerationState] = {}
        self.attachments: dict[UUID, set[Attachment]] = defaultdict(set)
        self.entitle = entitle
        self._runner = runner
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._process = leases.this_worker()
        self._beat = float("-inf")
        self._watch: SilenceWatch[UUID] = SilenceWatch(SILENCE_SECONDS, gap=2 * HEARTBEAT_SECONDS)
        self._unknown: SilenceWatch[UUID] = SilenceWatch(SILENCE_SECONDS, gap=2 * HEARTBEAT_SECONDS)
        self._ends, self._names = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE)
        self._stopping = False
        self._rights: dict[int, tuple[Any, ...]] = {}
        self.writer = make_writer(written=self._written, lost=self._lost, tick=self._tick)

    async def start(self) -> None:
        """Start the writer, the heartbeat and the listeners."""
        self.writer.start()
        await self.writer.call(self._heartbeat)
        self.spawn(background.restart_on_failure("chat nudges", self._listen))
        self.spawn(background.restart_on_failure("chat log", self._poll))

    async def stop(self) -> None:
        """Interrupt running generations, store them, and deregister."""
        self._stopping = True
        with contextlib.suppress(Error):
            await self.writer.call(lambda: None)  # answers that are beginning have begun after this
        running = [live for live in self.lives.values() if live.task]
        for live in running:
            self._cancel(live, "shutdown")
        await asyncio.gather(*(live.task for live in running if live.task), return_exceptions=True)
        await background.cancelled(self._tasks)
        with contextlib.suppress(Error):
            await self.writer.call(lambda: services.deregister(self.id))
        await self.writer.stop()

    def spawn(self, coroutine: Any) -> None:
        """Run a coroutine in the background until the hub stops. If the database fails it, its readers see the change a little later."""
        task = self._task(_without_database_errors(coroutine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _task(self, coroutine: Any) -> asyncio.Task[Any]:
        """Return a task with its own database threads. Those of the calling request or socket end with it; the task does not."""

        async def apart() -> Any:
            async with threads.shared():
                return await coroutine

        return asyncio.ensure_future(apart())

    # --- generations of this process

    async def begin(self, write: Callable[[], Started]) -> Started:
        """Run a service that begins an answer, and start the answer. Raises the service's errors."""
        self._accept()
        started = await self.writer.call(lambda: self._registered(write))
        self.show(started, self.launch(started))
        return started

    async def begin_all(self, write: Callable[[], list[Started]]) -> None:
        """Begin several answers side by side. Readers get the whole log."""
        self._accept()
        begun = await self.writer.call(lambda: self._registered(write))
        for started in begun:
            self.launch(started)
        await self.changed(begun[0].conversation.id)

    def _accept(self) -> None:
        if self._stopping:
            raise Refused(_("The server is restarting. Try again in a moment."))

    def _registered(self, write: Callable[[], T]) -> T:
        """Run a service that begins answers. After a long sleep, others take this process for dead: it gives a sign of life first."""
        if time.monotonic() - self._beat > 2 * HEARTBEAT_SECONDS:
            services.heartbeat(self.id, self._process)
        return write()

    def launch(self, started: Started) -> GenerationState:
        """Start the task that writes the answer."""
        live = GenerationState(
            generation_id=started.generation.id,
            message_id=started.answer.id,
            conversation_id=started.conversation.id,
            mine=True,
            base=started.answer.parts,
        )
        self.lives[live.id] = live
        self.writer.add(live.journal)
        live.task = self._task(self._run(live, started))
        background.track_pending(live.task)
        return live

    async def _run(self, live: GenerationState, started: Started) -> None:
        outcome = live.outcome
        try:
            await self._runner(live, started)
        except asyncio.CancelledError:
            outcome.status = Status.INTERRUPTED if live.stopped_by == "shutdown" else Status.STOPPED
        except PatternError as error:
            outcome.fail(error)
        except Exception:  # the last line of defense: an answer must not stay "streaming" forever
            logger.exception("A generation failed")
            outcome.status, outcome.error = Status.FAILED, "Patchbay had an internal error. Try again. The server's log has the details."
        live.ending = True
        async with self._ends:
            await self._finish(live, started)

    async def _finish(self, live: GenerationState, started: Started) -> None:
        live.apply({"k": "end", "at": time.time()})
        self.writer.remove(live.id)
        message = await keep(self.writer, live, await live.closing_html(), stopping=lambda: self._stopping)
        live.finish(await self._finished_article(message, started) if message else "")
        if message is None or message.report.get("left_out"):  # the page marks omitted messages
            self._refresh(live.conversation_id)
        self.lives.pop(live.id, None)
        await self._tell("finished", ids=[str(live.id)], conversation=str(live.conversation_id))
        if message and self.entitle:
            self.spawn(self._give_title(message, self.entitle))

    async def _finished_article(self, message: Message, started: Started) -> str:
        """Return the whole answer as HTML; empty if the database fails now, and readers read the log again."""
        # The answer to a question that was just asked has no siblings yet, unless it is compared with others.
        first = started.question is not None and message.compare is None
        try:
            turn = selectors.Turn(message, [message.id]) if first else await in_database(selectors.turn, message)
            return fragments.article(turn)
        except DB_UNAVAILABLE:
            self._refresh(message.conversation_id)
            return ""

    async def _give_title(self, message: Message, entitle: Entitle) -> None:
        async with self._names:
            title = await entitle(message)
        if not title:
            return
        conversation = await self.writer.call(lambda: services.set_first_title(conversation_id=message.conversation_id, title=title))
        if conversation is not None:
            self._show_name(conversation)
            await self._tell("changed", conversation=str(conversation.id))

    def _cancel(self, live: GenerationState, why: str) -> None:
        if live.task and not live.ending and not live.stopped_by:
            live.stopped_by = why
            self._loop.call_soon(live.task.cancel)  # only after the task has begun, so that it records its end

    async def request_stop(self, conversation_id: UUID, user: Any) -> bool:
        """Stop the conversation's generations in any process; return whether there were any."""
        generations = await self.writer.call(lambda: services.request_stop(conversation_id=conversation_id, user=user))
        for generation in generations:
            self._stop_mine(generation)
        await self._tell("stop", ids=[str(generation) for generation in generations])
        return bool(generations)

    def _stop_mine(self, generation: UUID) -> None:
        live = self.lives.get(generation)
        if live and live.mine:
            self._cancel(live, "user")

    async def approve(self, conversation_id: UUID, user: Any, *, call_id: str, yes: bool) -> None:
        """Pass on the user's answer to a tool that asks before it acts. Only the process that runs the generation waits for it."""
        await in_database(selectors.conversation, conversation_id, user)
        self._decide(conversation_id, call_id, yes=yes)
        await self._tell("approve", conversation=str(conversation_id), call=call_id, yes=yes)

    def _decide(self, conversation_id: UUID, call_id: str, *, yes: bool) -> None:
        for live in self.known(conversation_id):
            waiting = live.approvals.pop(call_id, None)
            if waiting and not waiting.done():
                waiting.set_result(yes)

    async def answer(self, conversation_id: UUID, user: Any, *, call_id: str, action: str, fields: dict[str, Any]) -> None:
        """Take the user's answer to a question of a running tool to the process that runs it."""
        await in_database(selectors.conversation, conversation_id, user)
        self._take_answer(conversation_id, call_id, action, fields)
        await self._tell("answer", conversation=str(conversation_id), call=call_id, action=action, fields=fields)

    def _take_answer(self, conversation_id: UUID, call_id: str, action: str, fields: dict[str, Any]) -> None:
        for live in self.known(conversation_id):
            pending = live.questions.get(call_id)
            if pending is None or pending.answer.done():
                continue
            if problem := pending.take(action, fields):
                live.apply({"k": "input", "id": call_id, "question": {**asdict(pending.question), "error": problem}})
            else:
                del live.questions[call_id]

    # --- readers

    def attach(self, attachment: Attachment) -> None:
        """Send the conversation's events to this socket."""
        self.attachments[attachment.conversation_id].add(attachment)

    def detach(self, attachment: Attachment) -> None:
        """Stop sending events to this socket."""
        watching = self.attachments[attachment.conversation_id]
        watching.discard(attachment)
        if not watching:
            del self.attachments[attachment.conversation_id]

    async def lives_of(self, conversation_id: UUID, running: Sequence[Generation]) -> list[GenerationState]:
        """Return the running generations of a conversation, here or (from the log) in another process. `running` are its rows."""
        mine = [live for live in self.known(conversation_id) if live.mine]
        if mine:
            return mine
        found = [await self._follow(generation) for generation in running]
        return [live for live in found if not live.finished]

    async def _follow(self, generation: Generation) -> GenerationState:
        if generation.id in self.lives:
            return self.lives[generation.id]
        ids = {"generation_id": generation.id, "message_id": generation.message_id, "conversation_id": generation.conversation_id}
        live = GenerationState(**ids, mine=False, base=generation.message.parts)
        self.lives[live.id] = live
        await self._pull(live)
        return live

    def known(self, conversation_id: UUID) -> list[GenerationState]:
        """Return the generations that this process runs or follows."""
        return [live for live in self.lives.values() if live.conversation_id == conversation_id and not live.finished]

    def show(self, started: Started, live: GenerationState) -> None:
        """Tell the readers here, and the other processes, that an answer begins."""
        watching = self._watching(started.conversation.id, started.conversation.user_id)
        turns = [selectors.Turn(message, [message.id]) for message in (started.question, started.answer) if message and watching]
        html = "".join(fragments.article(turn, body="" if turn.message is started.answer else None) for turn in turns)
        for attachment in watching:
            if started.moved:
                attachment.refresh()
            else:
                attachment.begin(html, live)
        self.spawn(self._tell("changed", conversation=str(started.conversation.id)))
        for text in fragments.frames_of_new(started.conversation) if started.created and watching else ():
            for attachment in watching:
                attachment.post(text)

    async def changed(self, conversation_id: UUID) -> None:
        """Refresh the conversation for all readers, here and in other processes."""
        self._refresh(conversation_id)
        await self._show_title(conversation_id)
        await self._tell("changed", conversation=str(conversation_id))

    async def _show_title(self, conversation_id: UUID) -> None:
        """Update titles for readers that have the conversation open here."""
        if not self.attachments.get(conversation_id):
            return
        owner, frames = await in_database(_title_frames, conversation_id)
        for attachment in self._watching(conversation_id, owner) if owner else ():
            for text in frames:
                attachment.post(text)

    def _show_name(self, conversation: Conversation) -> None:
        """Update the name of a conversation that a model has titled. Its place in the list stays, so the list is not sent again."""
        watching = self._watching(conversation.id, conversation.user_id)
        for text in fragments.frames_of_name(conversation) if watching else ():
            for attachment in watching:
                attachment.post(text)

    def _refresh(self, conversation_id: UUID) -> None:
        for attachment in tuple(self.attachments.get(conversation_id, ())):
            attachment.refresh()

    def _watching(self, conversation_id: UUID, user_id: int) -> list[Attachment]:
        return [attachment for attachment in self.attachments.get(conversation_id, ()) if attachment.user.pk == user_id]

    # --- other processes

    def _written(self, ids: list[UUID]) -> None:
        self.spawn(self._tell("more", ids=[str(id_) for id_ in ids]))

    def _lost(self, ids: list[UUID]) -> None:
        """Stop answers that another process has ended: nothing more of them is stored, and each further word costs money."""
        for id_ in ids:
            if live := self.lives.get(id_):
                self._cancel(live, "lost")

    async def _tell(self, what: str, **details: Any) -> None:
        await nudge_all({"what": what, "from": str(self.id), **details})

    async def _listen(self) -> None:
        while True:
            layer = get_channel_layer()
            try:
                channel = await layer.new_channel("chat.hub")
                await layer.group_add(GROUP, channel)
                while True:
                    self._hear(await layer.receive(channel))
            except LAYER_ERRORS as error:
                logger.warning("The channel layer is away: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    def _hear(self, message: dict[str, Any]) -> None:
        if message["from"] == str(self.id):
            return
        lives = [live for id_ in message.get("ids", ()) if (live := self.lives.get(UUID(id_)))]
        if message["what"] == "stop":
            for live in lives:
                self._stop_mine(live.id)
        elif message["what"] == "changed":
            self._refresh(UUID(message["conversation"]))
            self.spawn(self._show_title(UUID(message["conversation"])))
        elif message["what"] == "approve":
            self._decide(UUID(message["conversation"]), message["call"], yes=message["yes"])
        elif message["what"] == "answer":
            self._take_answer(UUID(message["conversation"]), message["call"], message["action"], message["fields"])
        for live in lives:
            if not live.mine:
                self.spawn(self._pull(live))

    async def _poll(self) -> None:
        """Follow the generations of other processes even when notifications are lost."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            for live in [live for live in self.lives.values() if not live.mine]:
                await self._pull(live)

    async def _pull(self, live: GenerationState) -> None:
        async with live.pulling:
            if live.finished:
                return
            rows, running = await in_database(selectors.log_after, live.id, live.journal.seq)
            for row in rows:
                live.journal.seq = row.seq
                for event in row.events:
                    live.apply(event)
            if not running:
                self.lives.pop(live.id, None)
                live.finish("")
                self._refresh(live.conversation_id)
            elif not live.readers and not self.attachments.get(live.conversation_id):
                self.lives.pop(live.id, None)

    # --- on the writer's thread, every interval

    def _tick(self) -> None:
        for generation in services.stops_requested(self.id):
            self._loop.call_soon_threadsafe(self._stop_mine, generation)
        if time.monotonic() - self._beat < HEARTBEAT_SECONDS:
            return
        self._heartbeat()
        self._reap()
        self._cut_ended_sessions()

    def _heartbeat(self) -> None:
        services.heartbeat(self.id, self._process)
        self._beat = time.monotonic()

    def _reap(self) -> None:
        orphans = services.interrupt_orphans(self.id, self._watch)
        unknown = services.interrupt_unknown(self.id, [live.id for live in [*self.lives.values()] if live.mine], self._unknown)
        for conversation in (*orphans, *unknown):
            self._loop.call_soon_threadsafe(self._changed_by_tick, conversation)

    def _changed_by_tick(self, conversation: UUID) -> None:
        self.spawn(self.changed(conversation))

    def _cut_ended_sessions(self) -> None:
        watched = {attachment.session for group in tuple(self.attachments.values()) for attachment in tuple(group)}
        if not watched:
            return
        rights = selectors.rights(session.user_id for session in watched)
        changed = {user for user, now in rights.items() if self._rights.get(user, now) != now}
        self._rights = rights
        ended = selectors.ended_sessions(watched) | {session for session in watched if session.user_id in changed}
        if ended:
            self._loop.call_soon_threadsafe(self._cut, ended)

    def _cut(self, sessions: set[SocketSession]) -> None:
        for group in tuple(self.attachments.values()):
            for attachment in tuple(group):
                if attachment.session in sessions:
                    attachment.cut()


async def _without_database_errors(coroutine: Awaitable[Any]) -> None:
    try:
        await coroutine
    except DB_UNAVAILABLE as error:
        logger.error("The chat waits for the database: %s", error)  # noqa: TRY400 - it may repeat every second


def _title_frames(conversation_id: UUID) -> tuple[int | None, list[str]]:
    conversation = Conversation.objects.select_related("user").filter(id=conversation_id).first()
    if conversation is None:
        return None, []
    return conversation.user_id, fragments.frames_of_title(conversation, sidebar.folder_names(conversation.user))


_hub: Hub | None = None


def hub() -> Hub:
    """Return the running hub of this process."""
    if _hub is None:
        raise RuntimeError("the chat's hub is not running: start the server with `manage.py up`, or use `chat.streaming.hub.running()`")
    return _hub


async def nudge(conversation_id: UUID) -> None:
    """Refresh the conversation for all readers. For views, whose process may have no hub."""
    message = {"what": "changed", "from": "", "conversation": str(conversation_id)}
    await (_hub.changed(conversation_id) if _hub else nudge_all(message))


async def stop_and_wait(conversation_id: UUID, user: Any) -> None:
    """Stop the conversation's generation, and wait briefly for its end."""
    if _hub and await _hub.request_stop(conversation_id, user):
        tasks = [live.task for live in _hub.known(conversation_id) if live.task]
        if tasks:
            await asyncio.wait(tasks, timeout=2)


@asynccontextmanager
async def running(runner: Runner, entitle: Entitle | None = None) -> AsyncGenerator[None, None]:
    """Run the hub as a background service of the server."""
    global _hub  # noqa: PLW0603 - one hub per process
    _hub = Hub(runner, entitle)
    await _hub.start()
    try:
        yield
    finally:
        await _hub.stop()
        _hub = None
