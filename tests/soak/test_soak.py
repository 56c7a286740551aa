"""The server and its backends fail in every way; nothing is lost, nothing is doubled, and the memory does not grow.

`make soak` runs this for SOAK_SECONDS (600). Chat, gateway, batches and search go on together over a route of two steps: a flaky
backend, which fails in about one of ten completions (tests/soak/flaky.py), and a steady one. In the first part the server process is
killed (SIGKILL) every 4 to 12 seconds and started again; in the second part it lives, and its memory is watched.

Every question has one right answer, made of words that are all different (tests/soak/truth.py). **Lost** is:

- a question that a page of the chat has shown once and does not show later; a question without an answer; a whole answer (`done`, or
  finished with `stop`) with a word missing or out of order; an answer on the page that was cut and is not a beginning of the right one,
  or lacks words that its reader saw a second before the kill; a question that cannot be brought to its whole answer in 180 s by
  pressing what the page offers;
- a gateway call that has neither an answer nor an error after 60 s, or an error that is not 429, 502, 503, 504;
- a batch that is gone, has no end in 240 s or another than `completed`; an input line without an output row; a count of finished rows
  that goes down; a row that fails, since the steady backend is always left;
- a document that was taken and is not found by its word within 90 s, or is not the first found later; a page that answers 4xx or 5xx.

**Doubled** is:

- a question or an answer that is on the page twice; a word that is in an answer twice;
- an input line with two output rows; a document that is found twice for one passage;
- work that is paid twice, by the upstreams' record of the answers they gave whole: more for a question of the chat than somebody asked
  for; more than one for a gateway call; a second for a batch row although the server lived for 2 s after the first.

A failure that the user is told of, and can act on, is neither: refused connections while the server is down, an answer marked
interrupted or failed, an error in the stream. These are counted as told.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import openai
import pytest

from tests.live import Live
from tests.soak.batching import Batcher
from tests.soak.calling import Caller
from tests.soak.chatting import Chatter
from tests.soak.flaky import ODDS, prepare
from tests.soak.searching import Searcher, document
from tests.soak.server import Server, drift
from tests.soak.tally import Tally
from tests.soak.truth import Record
from tests.upstream import Upstream

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
SEED = int(os.environ.get("SOAK_SEED", "0")) or time.time_ns() % 1_000_000
SUFFERING, WARM_UP, WATCHED = 0.5, 0.2, 0.3
COMMIT_SECONDS = 2.0
"""An answer that came so long before a kill is in the database."""
MOST_DRIFT = 0.05
TIMEOUTS = ("--first-token-timeout", "3", "--idle-timeout", "3")


@pytest.fixture
def live(new_live: Callable[..., Live], make_upstream: Callable[..., Upstream], record: Record, tmp_path: Path) -> Live:
    """A server whose routes all lead over a flaky and a steady upstream, with a collection of one document."""
    server = new_live()
    for name, odds in (("flaky", ODDS), ("steady", {})):
        upstream = prepare(make_upstream(), record, Random(SEED), odds)
        assert server.manage("add_backend", "--name", name, "--base-url", upstream.base_url).returncode == 0
    for route in ("soak", "default", "embed"):
        done = server.manage("add_route", "--name", route, "--step", "flaky/m", "--step", "steady/m", *TIMEOUTS)
        assert done.returncode == 0, done.stderr
    name, content = document(0)
    (tmp_path / name).write_bytes(content)
    done = server.manage("index_documents", "--user", "owner", "--collection", "Soak", str(tmp_path / name))
    assert done.returncode == 0, done.stderr
    return server


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 1.5 + 600)
async def test_nothing_is_lost_and_nothing_is_doubled(live: Live, record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """FAULTS 24-26, 37, 40, 42, 44: all at once, with a server that is killed again and again."""
    server, tally = Server(live, Random(SEED)), Tally()
    chatters, others = await asyncio.to_thread(users, server, tally)
    running = [asyncio.create_task(user.run()) for user in (*chatters, *others)]
    samples = [1.0] * 3
    try:
        samples = await through_the_phases(server, running)
    finally:
        pressed = {name: count for chatter in chatters for name, count in chatter.pressed.items()}
        judge_the_record(record, tally, server.kills, pressed)
        with capsys.disabled():
            print(report(record, tally, server, samples))
    assert tally.lost == []
    assert tally.doubled == []
    assert drift(samples) < MOST_DRIFT


def users(server: Server, tally: Tally) -> tuple[list[Chatter], list[Caller | Batcher | Searcher]]:
    token = server.live.manage("create_token", "--user", "owner").stdout.strip()
    sdk = openai.AsyncOpenAI(api_key=token, base_url=f"{server.live.url}/v1", max_retries=0)
    chatters = [Chatter(str(number), server, tally) for number in range(3)]
    callers = [Caller(str(number), server, tally, sdk) for number in range(3)]
    return chatters, [*callers, Batcher(server, tally, sdk), Searcher(server, tally, Random(SEED))]


async def through_the_phases(server: Server, running: list[asyncio.Task[None]]) -> list[float]:
    """Kills, a warm-up, and the stretch whose memory is returned; then the users come to an end. A user that breaks ends it all."""
    watch = asyncio.gather(*running)
    phases = asyncio.ensure_future(_phases(server))
    both: set[asyncio.Future[Any]] = {watch, phases}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not phases.done():
        phases.cancel()
        await watch
    samples = await phases
    server.over.set()
    await watch
    return samples


async def _phases(server: Server) -> list[float]:
    await server.suffer(SECONDS * SUFFERING)
    await asyncio.sleep(SECONDS * WARM_UP)
    return await server.memory(SECONDS * WATCHED)


def judge_the_record(record: Record, tally: Tally, kills: list[tuple[float, float]], pressed: dict[str, int]) -> None:
    """Work that was paid twice."""
    for name, times in record.answers("chat"):
        if len(times) > pressed.get(name, 0):
            tally.doubled.append(f"{name} was answered {len(times)} times and asked {pressed.get(name, 0)} times")
    for name, times in record.answers("gateway"):
        if len(times) > 1:
            tally.doubled.append(f"{name} was answered {len(times)} times")
    tally.doubled += [f"{name} was sent again though it was finished" for name in record.needless("batch", kills, COMMIT_SECONDS)]


def report(record: Record, tally: Tally, server: Server, samples: list[float]) -> str:
    """The figures."""
    paid_again = sum(len(times) - 1 for _name, times in record.answers("batch"))
    faults = ", ".join(f"{count} {name}" for name, count in sorted(record.faults.items()))
    lines = {
        "seconds": f"{SECONDS:.0f} (seed {SEED})",
        "done": ", ".join(f"{count} {name}" for name, count in sorted(tally.done.items())),
        "upstream requests": str(record.requests),
        "faults injected": f"{sum(record.faults.values())} ({faults})",
        "kills": str(len(server.kills)),
        "told": ", ".join(f"{count} {name}" for name, count in sorted(tally.told.items())),
        "rows under way at a kill, sent again": str(paid_again),
        "lost": str(len(tally.lost)),
        "doubled": str(len(tally.doubled)),
        "memory": f"{samples[0]:.0f} MB, then {samples[-1]:.0f} MB; drift {drift(samples):+.1%} over {SECONDS * WATCHED:.0f} s",
        "tracebacks in the log": str(server.live.output().count("Traceback (most recent call last)")),
    }
    evidence = [f"  {line}" for line in [*tally.lost[:20], *tally.doubled[:20]]]
    return "\n" + "\n".join([*(f"{name:38}{value}" for name, value in lines.items()), *evidence])
