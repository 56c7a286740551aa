"""Make writes cheap: build frames directly, and write to sockets without asking the selector first (they nearly always have room)."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from twisted.internet.tcp import Server as Transport


def text_frame(data: bytes) -> bytes:
    """Return a complete websocket message of UTF-8 text, as a server sends it (RFC 6455, section 5.2)."""
    size = len(data)
    if size < 126:
        return b"\x81%c%b" % (size, data)
    length = b"\x7e" + size.to_bytes(2) if size < 2**16 else b"\x7f" + size.to_bytes(8)
    return b"\x81" + length + data


class EagerTransport(Transport):
    """Send everything that a turn of the event loop wrote at the end of that turn, in one piece.

    Twisted registers each write with the selector, waits for the next turn, and unregisters it: two system calls and a turn per frame.
    This class does so only for bytes that the socket did not accept.
    """

    _flushing = False
    _full = False

    @property
    def unsent(self) -> int:
        """Return the number of written bytes that the socket did not accept yet."""
        return int(self._tempDataLen + len(self.dataBuffer) - self.offset)

    def startWriting(self) -> None:  # noqa: N802 - Twisted's name
        """Write at the end of this turn of the loop instead of waiting for the selector."""
        if not (self._flushing or self._full):
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def stopWriting(self) -> None:  # noqa: N802 - Twisted's name
        """Stop waiting for the selector."""
        if self._full:
            self._full = False
            super().stopWriting()  # type: ignore[no-untyped-call]  # Twisted ships without annotations

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """Count one connection of this address less."""
        super().connectionLost(reason)
        cast("Any", self.server).factory.left(self.client[0])

    def _flush(self) -> None:
        self._flushing = False
        if not self.connected or self._full:
            return
        self.reactor._readOrWrite(self, False)  # noqa: SLF001, FBT003 - the reactor does the same for a socket that has room
        if self.connected and not self._flushing and (self._tempDataLen or self.offset < len(self.dataBuffer)):
            self._full = True
            super().startWriting()  # type: ignore[no-untyped-call]  # as above
