"""Places of a backend are shared by all processes of a machine."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from webapp.core.machine_places import MachinePlaces

HOLD = """
import asyncio, sys
from pathlib import Path
from webapp.core.machine_places import MachinePlaces

async def hold():
    places = MachinePlaces(Path(sys.argv[1]), 1)
    await places.acquire()
    print("held", flush=True)
    await asyncio.sleep(600)

asyncio.run(hold())
"""


async def test_two_users_of_a_folder_share_its_places(tmp_path: Path) -> None:
    one, other = MachinePlaces(tmp_path, 2), MachinePlaces(tmp_path, 2)
    assert not one.locked()
    assert await one.acquire()
    assert await other.acquire()
    assert one.locked()
    assert other.locked()
    other.release()
    assert not one.locked()
    one.close()
    other.close()


async def test_a_caller_waits_until_another_user_leaves(tmp_path: Path) -> None:
    one, other = MachinePlaces(tmp_path, 1), MachinePlaces(tmp_path, 1)
    await one.acquire()
    waiting = asyncio.ensure_future(other.acquire())
    await asyncio.sleep(0.03)
    assert not waiting.done()
    one.release()
    assert await asyncio.wait_for(waiting, 5)


async def test_the_callers_of_one_user_are_served_in_their_order(tmp_path: Path) -> None:
    places, order = MachinePlaces(tmp_path, 1), []

    async def use(name: int) -> None:
        await places.acquire()
        order.append(name)
        await asyncio.sleep(0)
        places.release()

    await asyncio.gather(*(use(name) for name in range(5)))
    assert order == [0, 1, 2, 3, 4]


async def test_a_canceled_caller_takes_no_place(tmp_path: Path) -> None:
    places = MachinePlaces(tmp_path, 1)
    await places.acquire()
    waiting = asyncio.ensure_future(places.acquire())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    places.release()
    assert not places.locked()


def test_the_place_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    places = MachinePlaces(tmp_path, 1)
    assert places.locked()
    holder.kill()
    holder.wait()
    assert not places.locked()
    holder.stdout.close()
