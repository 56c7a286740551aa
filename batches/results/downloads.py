"""Long answers, a piece at a time: generators that use the database, for asynchronous servers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator

from channels.db import database_sync_to_async


async def in_thread(pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The pieces of a synchronous generator, each made in a thread, when the one before was sent."""
    try:
        while (piece := await database_sync_to_async(next)(pieces, None)) is not None:
            yield piece
    finally:
        if isinstance(pieces, Generator):
            await database_sync_to_async(pieces.close)()
