"""FAULTS 50: PostgreSQL or Redis goes away and comes back."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable

import httpx2
import pytest

from tests.faults.sockets import apart_from_titles, attached, handshake, serve, streamed
from tests.live import Live
from tests.machines import Postgres, Redis
from tests.scale.test_two_webs import connect
from tests.upstream import Upstream, endless, says

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
MakeUpstream = Callable[..., Upstream]
PATIENCE = 30


def token_of(live: Live, user: str) -> str:
    return live.manage("create_token", "--user", user).stdout.strip()


def ask(live: Live, token: str) -> httpx2.Response:
    body = {"model": "default", "messages": [{"role": "user", "content": "Hello"}]}
    return httpx2.post(f"{live.url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)


def until_ok(try_it: Callable[[], httpx2.Response]) -> httpx2.Response:
    """The first good answer; there must be one soon."""
    deadline = time.monotonic() + PATIENCE
    while True:
        response = try_it()
        if response.status_code == 200 or time.monotonic() > deadline:
            return response
        time.sleep(0.5)


@pytest.mark.slow
def test_without_postgresql_requests_fail_clearly_and_then_go_on(
    two_webs: tuple[Live, Live], make_upstream: MakeUpstream, postgres: Postgres
) -> None:
    """FAULTS 50: pages say so with 503, /v1 in OpenAI's error shape, readiness names the database; then all resumes by itself."""
    live, _ = two_webs
    upstream = make_upstream()
    upstream.default = says("Hello back")
    connect(live, upstream)
    token = token_of(live, "owner")
    client = live.sign_in("owner")
    assert ask(live, token).status_code == 200
    postgres.stop()
    try:
        page = client.get("/accounts/profile/")
        assert page.status_code == 503
        assert "The database is not answering" in page.text
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert "database" in ready.json()["problems"]
        assert client.get("/healthz").status_code == 200
        time.sleep(6)  # past what the gateway may remember of a token
        refused = ask(live, token)
        assert refused.status_code in {200, 503}
        if refused.status_code == 503:
            assert set(json.loads(refused.text)["error"]) == {"message", "type", "param", "code"}
    finally:
        postgres.start()
    assert until_ok(lambda: client.get("/accounts/profile/")).status_code == 200
    assert until_ok(lambda: ask(live, token)).status_code == 200


@pytest.mark.slow
def test_without_redis_requests_go_on(two_webs: tuple[Live, Live], make_upstream: MakeUpstream, redis: Redis) -> None:
    """FAULTS 50: Redis carries nudges and shared state, never the record: pages and /v1 answer without it."""
    live, _ = two_webs
    upstream = make_upstream()
    upstream.default = says("Hello back")
    connect(live, upstream)
    token = token_of(live, "owner")
    client = live.sign_in("owner")
    assert client.get("/readyz").json() == {"ready": True, "problems": {}}
    redis.stop()
    try:
        assert client.get("/chat/").status_code == 200
        assert ask(live, token).status_code == 200
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert "layer" in ready.json()["problems"]
    finally:
        redis.start()
    assert until_ok(lambda: client.get("/readyz")).status_code == 200
    assert ask(live, token).status_code == 200


WORDS = [f"word{number}" for number in range(60)]
KEPT = "from chat.models import Message; m = Message.objects.get(role='assistant'); print(m.status, m.text)"
ATTEMPTS = "from webapp.backends.models import Attempt; print(*Attempt.objects.filter(outcome='ok').values_list('source', flat=True))"


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_streams_outlive_postgresql(two_webs: tuple[Live, Live], make_upstream: MakeUpstream, postgres: Postgres) -> None:
    """FAULTS 50: an answer in the chat and one of the gateway go on while it is away, and both are kept whole when it is back."""
    live, _ = two_webs
    upstream = make_upstream()
    upstream.default = apart_from_titles(says(" ".join(WORDS), pace=0.15))
    serve(live, upstream, "default")
    token, words = token_of(live, "owner"), list[str]()
    call = threading.Thread(target=streamed, args=(live, token, "default", words))
    with attached(live, handshake(live, "owner"), uuid.uuid4()) as socket:
        socket.say("send", text="Go")
        socket.until("word2")
        call.start()
        until(lambda: "word2" in "".join(words))
        postgres.stop()
        try:
            socket.until("word45", seconds=PATIENCE)
        finally:
            postgres.start()
        socket.until('data-status="done"', seconds=PATIENCE)
    call.join()
    assert "".join(words).removesuffix("[DONE]").split() == WORDS
    assert words[-1] == "[DONE]"
    sources: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while not {"chat", "gateway"} <= set(sources) and time.monotonic() < deadline:
        sources = live.run_python(ATTEMPTS).split()
    assert {"chat", "gateway"} <= set(sources), live.output()[-4000:]
    assert live.run_python(KEPT).split() == ["done", *WORDS]


@pytest.mark.slow
def test_a_chat_is_watched_and_stopped_from_the_other_process_without_redis(
    two_webs: tuple[Live, Live], make_upstream: MakeUpstream, redis: Redis
) -> None:
    """FAULTS 50: the nudges are lost; the log and the flag in the database are not."""
    here, there = two_webs
    upstream = make_upstream()
    upstream.default = apart_from_titles(endless(pace=0.05))
    serve(here, upstream, "default")
    conversation = uuid.uuid4()
    with attached(here, handshake(here, "owner"), conversation) as socket:
        redis.stop()
        try:
            socket.say("send", text="Go")
            socket.until(" more")
            with attached(there, handshake(there, "owner"), conversation) as other:
                other.until(" more", seconds=PATIENCE)
                other.say("stop")
                for one in (other, socket):
                    one.until('data-status="stopped"', seconds=PATIENCE)
        finally:
            redis.start()
    assert live_requests_end(upstream)


def live_requests_end(upstream: Upstream) -> bool:
    """Whether the server has let go of each request."""
    return all(request.gone.wait(5) or request.ended.is_set() for request in upstream.requests)
