"""Generations, their log, and the sockets that watch them."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.utils import timezone

from chat import selectors, services
from chat.models import Conversation, Generation, LogRow, Message, Owner
from chat.services import Started
from chat.streaming.generation_state import GenerationState
from chat.streaming.hub import Hub
from chat.streaming.subscription import Attachment
from tests.chat.conftest import Socket, saying
from tests.users import Users
from webapp.core import leases
from webapp.core.database import in_database
from webapp.core.leases import SilenceWatch

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_client_that_knows_the_contract_holds_a_conversation(users: Users, serve: Any, fresh: UUID) -> None:
    async with serve(saying("Hello ", "**you**")):
        socket = Socket(users.owner, fresh)
        assert (await socket.connect())[0]
        await socket.say(text="Hi there")
        page = await socket.until_ended()
        assert page.last_status == "done"
        assert '<p dir="auto">Hello <strong>you</strong></p>' in page.frames[-1]["content"]
        await socket.close()
    answer = await Message.objects.aget(role="assistant")
    assert (answer.text, answer.status) == ("Hello **you**", "done")
    assert await LogRow.objects.acount() == 0


async def test_text_arrives_before_the_answer_ends(users: Users, serve: Any, fresh: UUID) -> None:
    go_on = asyncio.Event()
    async with serve(saying("First words. ", then=go_on.wait)):
        socket = Socket(users.owner, fresh)
        await socket.connect()
        await socket.say(text="Hi")
        page = await socket.until(lambda page: "First words." in page.html)
        assert page.last_status == "streaming"
        go_on.set()
        await socket.until_ended()


async def test_a_second_socket_gets_the_state_and_then_what_is_new(users: Users, serve: Any, fresh: UUID) -> None:
    """FAULTS 24: no gap and no double for whoever comes late."""
    go_on = asyncio.Event()
    words = [f"word{number} " for number in range(50)]

    async def run(live: GenerationState, started: Started) -> None:
        for number, word in enumerate(words):
            live.apply({"k": "text", "d": word})
            if number == 25:
                await go_on.wait()
            await asyncio.sleep(0.001)

    async with serve(run):
        first = Socket(users.owner, fresh)
        await first.connect()
        await first.say(text="Hi")
        await first.until(lambda page: "word25" in page.html)
        late = Socket(users.owner, fresh)
        await late.connect()
        await late.until(lambda page: "word25" in page.html)
        go_on.set()
        page = await late.until_ended()
    final = page.frames[-1]["content"]
    assert "".join(words).strip() in final
    streamed = "".join(frame["content"] for frame in page.frames[:-1])
    assert all(streamed.count(f"word{number} ") <= 2 for number in range(50))


async def test_stop_keeps_the_partial_answer(users: Users, serve: Any, fresh: UUID) -> None:
    """FAULTS 27: Stop mid-text, from another socket."""
    cancelled = asyncio.Event()

    async def run(live: GenerationState, started: Started) -> None:
        live.apply({"k": "text", "d": "partial answer"})
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serve(run):
        one, two = Socket(users.owner, fresh), Socket(users.owner, fresh)
        await one.connect()
        await one.say(text="Hi")
        await one.until(lambda page: "partial answer" in page.html)
        await two.connect()
        await two.say("stop")
        await asyncio.wait_for(cancelled.wait(), 1)
        assert (await one.until_ended()).last_status == "stopped"
    assert (await Message.objects.aget(role="assistant")).text == "partial answer"


async def test_an_answer_that_never_ends_is_cut_and_keeps_its_beginning(users: Users, serve: Any, fresh: UUID, settings: Any) -> None:
    settings.CHAT_ANSWER_CHARS = 1000

    async def run(live: GenerationState, started: Started) -> None:
        while True:
            live.apply({"k": "text", "d": "more "})
            await asyncio.sleep(0)

    async with serve(run):
        socket = Socket(users.owner, fresh)
        await socket.connect()
        await socket.say(text="Hi")
        assert (await socket.until_ended()).last_status == "failed"
    answer = await Message.objects.aget(role="assistant")
    assert (answer.text, answer.error) == ("more " * 200, "The answer was cut: an answer may have 1,000 characters.")


async def test_one_answer_at_a_time_and_the_other_is_told_why(users: Users, serve: Any, fresh: UUID) -> None:
    """FAULTS 28."""
    never = asyncio.Event()
    async with serve(saying("x", then=never.wait)):
        one, two = Socket(users.owner, fresh), Socket(users.owner, fresh)
        await one.connect()
        await two.connect()
        await one.say(text="first")
        await one.until(lambda page: page.last_status == "streaming")
        await two.say(text="second")
        page = await two.until(lambda page: "Still answering" in page.html)
        assert any(frame["target"] == "#chat-notice" for frame in page.frames)
    assert await Message.objects.filter(role="user").acount() == 1


async def test_another_users_conversation_is_refused_with_404(users: Users, serve: Any, fresh: UUID) -> None:
    """FAULTS 7."""
    async with serve(saying("x")):
        owner = Socket(users.owner, fresh)
        await owner.connect()
        await owner.say(text="mine")
        await owner.until_ended()
        assert await Socket(users.other, fresh).connect() == (False, 4404)


async def test_a_socket_that_waited_on_a_fresh_id_sees_nothing_of_who_took_it(users: Users, serve: Any, fresh: UUID) -> None:
    async with serve(saying("secret words")):
        spy, owner = Socket(users.other, fresh), Socket(users.owner, fresh)
        await spy.connect()
        await owner.connect()
        await owner.say(text="mine")
        await owner.until_ended()
        await spy.say(text="let me in")
        page = await spy.until(lambda page: "no longer exists" in page.html)
        assert "secret" not in page.html
        assert "mine" not in page.html


async def test_a_suspended_user_is_cut(users: Users, serve: Any, fresh: UUID) -> None:
    """FAULTS 9: within 5 s."""
    async with serve(saying("x")):
        socket = Socket(users.owner, fresh)
        await socket.connect()
        users.owner.is_active = False
        await users.owner.asave()
        assert await socket.closed(seconds=5) == 4401


async def test_a_changed_permission_closes_the_sockets_of_its_user(users: Users, serve: Any, fresh: UUID) -> None:
    """FAULTS 58. The page connects again, with the permissions of now."""
    async with serve(saying("x")) as hub:
        socket, other = Socket(users.owner, fresh), Socket(users.other, uuid.uuid4())
        await socket.connect()
        await other.connect()
        await hub.writer.call(hub._cut_ended_sessions)  # it learns the permissions of now
        group = await Group.objects.acreate(name="staff")
        await users.owner.groups.aadd(group)
        assert await socket.closed(seconds=5) == 4401
        assert {attachment.user.pk for watching in hub.attachments.values() for attachment in watching} == {users.other.pk}


async def test_shutdown_keeps_what_was_written_as_interrupted(users: Users, serve: Any, fresh: UUID) -> None:
    never = asyncio.Event()
    async with serve(saying("so far", then=never.wait)):
        socket = Socket(users.owner, fresh)
        await socket.connect()
        await socket.say(text="Hi")
        await socket.until(lambda page: "so far" in page.html)
    answer = await Message.objects.aget(role="assistant")
    assert (answer.status, answer.text) == ("interrupted", "so far")
    assert await Owner.objects.acount() == 0


async def test_the_generations_of_a_dead_process_are_interrupted_with_their_log(users: Users, serve: Any, fresh: UUID) -> None:
    """FAULTS 26: what a killed process had flushed is kept, and the answer can be continued."""
    dead = uuid.uuid4()
    started = await sync_to_async(services.send_message)(owner=dead, conversation_id=fresh, user=users.owner, text="Hi")
    events = [{"k": "text", "d": "kept "}, {"k": "call", "id": "1", "name": "t", "arguments": "{}", "at": 1.0}]
    await LogRow.objects.acreate(generation=started.generation, seq=1, events=events)
    async with serve(saying("and more")):
        socket = Socket(users.owner, fresh)
        await socket.connect()
        page = await socket.until(lambda page: page.last_status == "interrupted")
        assert "kept" in page.html
        await socket.say("continue")
        page = await socket.until(lambda page: page.last_status == "done")
    answer = await Message.objects.aget(role="assistant")
    assert [part["kind"] for part in answer.parts] == ["text", "tool", "text"]
    assert answer.parts[1]["state"] == "failed"
    assert await Generation.objects.filter(running=True).acount() == 0


async def test_a_process_is_dead_only_after_a_silence_that_this_process_watched(users: Users, serve: Any, fresh: UUID) -> None:
    """FAULTS 26, 50: clocks of machines may differ by an hour, and after a time without the database nobody could give a sign."""
    other, clock = uuid.uuid4(), iter([0.0, 2.0, 60.0, 62.0, 64.0, 66.0])

    def begin() -> Started:
        Owner.objects.create(id=other, process="elsewhere/1/1/1", seen_at=timezone.now() - timedelta(hours=1))
        return services.send_message(owner=other, conversation_id=fresh, user=users.owner, text="Hi")

    started = await sync_to_async(begin)()
    watch: SilenceWatch[UUID] = SilenceWatch(6, gap=4, clock=lambda: next(clock))
    running = Generation.objects.filter(id=started.generation.id, running=True)
    alive = []
    for _ in range(6):
        await sync_to_async(services.interrupt_orphans)(uuid.uuid4(), watch)
        alive.append(await running.aexists())
    assert alive == [True, True, True, True, True, False]


async def test_the_answers_of_a_process_that_this_machine_knows_to_be_dead_end_at_once(users: Users, serve: Any, fresh: UUID) -> None:
    dead = uuid.uuid4()

    def begin() -> None:
        here = leases.this_worker().split("/")
        Owner.objects.create(id=dead, process="/".join([here[0], here[1], "1", here[3]]), seen_at=timezone.now())
        services.send_message(owner=dead, conversation_id=fresh, user=users.owner, text="Hi")

    await sync_to_async(begin)()
    async with serve(saying("more")):
        socket = Socket(users.owner, fresh)
        await socket.connect()
        await socket.until(lambda page: page.last_status == "interrupted")


async def test_an_answer_that_another_process_has_ended_stops_here_and_leaves_no_log(users: Users, serve: Any, fresh: UUID) -> None:
    """A process that slept for long is taken for dead. Afterwards it writes nothing over the answer that others have ended."""
    go_on = asyncio.Event()
    async with serve(saying("before ", then=go_on.wait)) as hub:
        socket = Socket(users.owner, fresh)
        await socket.connect()
        await socket.say(text="Hi")
        await socket.until(lambda page: "before" in page.html)
        live = next(iter(hub.lives.values()))
        await Generation.objects.filter(id=live.id).aupdate(running=False)
        live.apply({"k": "text", "d": "after "})
        assert live.task is not None
        await asyncio.wait({live.task}, timeout=8)
        assert live.task.done()
    assert await LogRow.objects.filter(events__icontains="after").acount() == 0


async def test_an_answer_whose_commit_was_answered_by_an_error_does_not_stay_streaming(users: Users, serve: Any, fresh: UUID) -> None:
    """The row is stored, but this process runs no such answer: after a time it interrupts it."""
    async with serve(saying("x")) as hub:
        await sync_to_async(services.send_message)(owner=hub.id, conversation_id=fresh, user=users.owner, text="Hi")
        hub._unknown = SilenceWatch(0.1, gap=4)
        socket = Socket(users.owner, fresh)
        await socket.connect()
        await socket.until(lambda page: page.last_status == "interrupted")


async def test_a_stopping_hub_begins_no_answer(users: Users, serve: Any, fresh: UUID) -> None:
    async with serve(saying("x")) as hub:
        pass
    with pytest.raises(services.Refused, match="restarting"):
        await hub.begin(lambda: services.send_message(owner=hub.id, conversation_id=fresh, user=users.owner, text="Hi"))
    assert await Message.objects.acount() == 0


async def test_a_continued_answer_is_not_taken_for_the_run_that_died(users: Users, serve: Any, fresh: UUID) -> None:
    """The follower of the dead run may still be there when the answer goes on under the same message."""
    started = await sync_to_async(services.send_message)(owner=uuid.uuid4(), conversation_id=fresh, user=users.owner, text="Hi")
    await LogRow.objects.acreate(generation=started.generation, seq=1, events=[{"k": "text", "d": "old "}])
    async with serve(saying("new")) as hub:
        socket = Socket(users.owner, fresh)
        await socket.connect()
        stale = next(iter(await hub.lives_of(fresh, await in_database(selectors.running, fresh))), None)
        await socket.until(lambda page: page.last_status == "interrupted")
        if stale:
            stale.finished_article = None
            hub.lives[stale.id] = stale
        await socket.say("continue")
        page = await socket.until(lambda page: page.last_status == "done")
        assert "old new" in page.frames[-1]["content"]


async def test_another_process_follows_and_stops_through_the_database(users: Users, serve: Any, fresh: UUID) -> None:
    """A socket in process B sees what process A writes; a nudge of the layer is not needed for it."""
    never = asyncio.Event()
    async with serve(saying("from A ", then=never.wait)) as ours:
        theirs = Hub(saying("unused"))
        await theirs.start()
        started = await theirs.writer.call(
            lambda: services.send_message(owner=theirs.id, conversation_id=fresh, user=users.owner, text="Hi")
        )
        live = GenerationState(generation_id=started.generation.id, message_id=started.answer.id, conversation_id=fresh, mine=True, base=[])
        theirs.lives[live.id] = live
        theirs.writer.add(live.journal)
        live.apply({"k": "text", "d": "from elsewhere "})
        socket = Socket(users.owner, fresh)
        await socket.connect()
        await socket.until(lambda page: "from elsewhere" in page.html)
        live.apply({"k": "text", "d": "and on "})
        await socket.until(lambda page: "and on" in page.html)
        assert ours.lives[live.id].mine is False
        stopped = asyncio.Event()
        live.task = asyncio.ensure_future(asyncio.sleep(60))
        live.task.add_done_callback(lambda _: stopped.set())
        await socket.say("stop")
        await asyncio.wait_for(stopped.wait(), 2)
        live.outcome.status = "stopped"
        await theirs._finish(live, started)
        assert (await socket.until_ended()).last_status == "stopped"
        await theirs.stop()


async def test_an_answer_that_begins_while_the_log_is_read_is_shown_once(
    users: Users, serve: Any, fresh: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS 24: whoever comes at that very moment neither misses it nor sees it twice."""
    gate, ended, frames = asyncio.Event(), asyncio.Event(), list[dict[str, str]]()

    async def send(text: str) -> None:
        frames.append(json.loads(text))
        if 'data-status="done"' in text.replace("\\", ""):
            ended.set()

    async def close(code: int) -> None:
        raise AssertionError(code)

    async with serve(saying("Hello", pace=0.2)) as hub:
        lives_of = hub.lives_of

        async def slowly(conversation_id: UUID, running: Sequence[Generation]) -> list[GenerationState]:
            found: list[GenerationState] = await lives_of(conversation_id, running)
            await gate.wait()
            return found

        monkeypatch.setattr(hub, "lives_of", slowly)
        pump = asyncio.ensure_future(Attachment(hub, fresh, users.owner, send=send, close=close).pump())
        await asyncio.sleep(0.05)
        await hub.begin(lambda: services.send_message(owner=hub.id, conversation_id=fresh, user=users.owner, text="Hi"))
        gate.set()
        await asyncio.wait_for(ended.wait(), 5)
        log = [frame for frame in frames if frame["target"] == "#chat-log"]
        while any(frame["swap"] == "innerMorph" for frame in log[1:]):
            log.pop(0)
        assert sum(frame["content"].count('data-testid="message-user"') for frame in log) == 1
        pump.cancel()


async def test_a_slow_reader_skips_states_and_costs_no_memory(users: Users, serve: Any, fresh: UUID) -> None:
    """FAULTS 29: nothing is queued for a client that does not read."""
    blocked = asyncio.Event()

    async def run(live: GenerationState, started: Started) -> None:
        for number in range(2000):
            live.apply({"k": "text", "d": f"line {number} of text\n\n"})
            await asyncio.sleep(0)

    async with serve(run) as hub:
        sent: list[str] = []

        async def send(text: str) -> None:
            sent.append(text)
            await blocked.wait()

        async def close(code: int) -> None:
            raise AssertionError(code)

        slow = Attachment(hub, fresh, users.owner, send=send, close=close)
        pump = asyncio.ensure_future(slow.pump())
        started = await hub.writer.call(lambda: services.send_message(owner=hub.id, conversation_id=fresh, user=users.owner, text="Hi"))
        live = hub.launch(started)
        hub.show(started, live)
        await live.task
        assert len(sent) <= 1
        assert len(slow._waiting) < 5
        blocked.set()
        await asyncio.sleep(0.3)
        assert "line 1999 of text" in "".join(sent)
        pump.cancel()
    assert (await Message.objects.aget(role="assistant")).text.count("line") == 2000


async def test_broken_and_hostile_frames_get_an_answer(users: Users, serve: Any, fresh: UUID) -> None:
    """FAULTS 23 on the websocket."""
    async with serve(saying("x")):
        socket = Socket(users.owner, fresh)
        await socket.connect()
        hostile = [
            "",
            "{",
            "[1]",
            "null",
            '{"body": null}',
            '{"body": {"action": "nothing"}}',
            '{"body": {"action": ["send"]}}',
            "[" * 10_000,
        ]
        hostile += [
            '{"body": {"action": "send", "text": 5}}',
            '{"body": {"action": "edit", "message": "x"}}',
            '{"body": {"action": "send"}}',
        ]
        for text in hostile[1:]:
            await socket.raw(text)
            frame = await socket.frame()
            assert frame["target"] == "#chat-notice"
            assert frame["content"]
        await socket.say(text="still \ud800 alive \x00")
        assert (await socket.until_ended()).last_status == "done"
    assert await Conversation.objects.acount() == 1
