"""Bounded fan-out."""

from __future__ import annotations

import asyncio

from webapp.patterns.parallel import NEVER, run


async def test_results_come_in_the_order_of_the_items_and_an_exception_is_one() -> None:
    async def worker(number: int) -> int:
        await asyncio.sleep((5 - number) / 1000)
        return 10 // number

    results = [result async for result in run(range(5), worker, concurrency=3, retry=NEVER)]
    assert [result.index for result in results] == [0, 1, 2, 3, 4]
    assert isinstance(results[0].error, ZeroDivisionError)
    assert [result.value for result in results[1:]] == [10, 5, 3, 2]
