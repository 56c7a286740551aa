"""Send long files piece by piece from generators that use the database."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator

from webapp.core.database import in_database


async def in_thread(pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of a synchronous generator, making each in a thread after the previous one was sent."""
    try:
        while (piece := await in_database(next, pieces, None)) is not None:
            yield piece
    finally:
        if isinstance(pieces, Generator):
            await in_database(pieces.close)
