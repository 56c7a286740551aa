"""The heap that start-up leaves is not walked again, and what requests leave still is."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from webapp.server import gc_tuning


@pytest.fixture
def _heap_as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("_heap_as_it_was")
async def test_what_start_up_made_is_not_walked_again_and_garbage_that_comes_later_is_still_found() -> None:
    class Knot:
        def __init__(self) -> None:
            self.itself = self

    before = weakref.ref(Knot())
    async with gc_tuning.service(settle_seconds=0):
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if gc.get_freeze_count():
                break
        assert before() is None
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold()[0] == gc_tuning.YOUNG
        later = weakref.ref(Knot())
        gc.collect()
        assert later() is None


@pytest.mark.usefixtures("_heap_as_it_was")
async def test_a_server_that_stops_at_once_leaves_the_heap_alone() -> None:
    async with gc_tuning.service():
        pass
    assert gc.get_freeze_count() == 0
