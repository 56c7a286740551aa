"""A channel layer for the server processes of one machine: datagrams over Unix sockets in the state folder, without Redis.

It carries notifications only ("there is more in the database"). A message that a full or vanished socket does not take is lost, as in every
channel layer; the chat polls for what it missed.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from channels.layers import BaseChannelLayer

MAX_BYTES: Final = 64 * 1024
MAX_WAITING: Final = 1000
"""Messages that a channel keeps for a receiver that does not read."""


class LocalChannelLayer(BaseChannelLayer):
    """Send messages between the processes that share `folder`.

    Args:
        folder: where each process has its socket.
    """

    extensions: Final = ["groups"]

    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(**options)
        self._folder = Path(folder)
        self._groups: defaultdict[str, set[str]] = defaultdict(set)
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def new_channel(self, prefix: str = "specific") -> str:
        """Return the name of a new channel of this process."""
        self._listen()
        return f"{prefix}.{os.getpid()}!{secrets.token_hex(6)}"

    async def group_add(self, group: str, channel: str) -> None:
        """Deliver the group's messages to a channel of this process."""
        self._listen()
        self._groups[group].add(channel)
        self._queue(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Stop delivering the group's messages to a channel."""
        self._groups[group].discard(channel)
        self._queues.pop(channel, None)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to the group's channels in all processes."""
        self._deliver(group, message)
        data = json.dumps([group, message]).encode()
        if len(data) > MAX_BYTES:
            raise OSError(f"a message of {len(data)} bytes is too large for the local channel layer")
        own = self._listen()
        for path in self._folder.glob("*.sock"):
            if str(path) != own.getsockname():
                self._send(own, path, data)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to one channel of this process."""
        self._put(channel, message)

    async def receive(self, channel: str) -> dict[str, Any]:
        """Return the channel's next message, waiting for it."""
        self._listen()
        return await self._queue(channel).get()

    def close(self) -> None:
        """Close the socket and remove it from the folder."""
        if self._socket is None:
            return
        path = self._socket.getsockname()
        if self._loop and not self._loop.is_closed():
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket = None
        Path(path).unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        """Return the process's socket, opened for the running event loop."""
        loop = asyncio.get_running_loop()
        if self._socket is not None and self._loop is loop:
            return self._socket
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        opened.bind(str(self._folder / f"{os.getpid()}-{secrets.token_hex(4)}.sock"))
        loop.add_reader(opened.fileno(), self._read, opened)
        self._socket, self._loop = opened, loop
        return opened

    def _read(self, opened: socket.socket) -> None:
        with suppress(BlockingIOError):  # nothing more to read
            while True:
                group, message = json.loads(opened.recv(MAX_BYTES))
                self._deliver(group, message)

    def _send(self, own: socket.socket, path: Path, data: bytes) -> None:
        try:
            own.sendto(data, str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)  # its process has ended
        except BlockingIOError:
            return  # the receiver is behind: it polls

    def _deliver(self, group: str, message: dict[str, Any]) -> None:
        for channel in self._groups[group]:
            self._put(channel, message)

    def _put(self, channel: str, message: dict[str, Any]) -> None:
        queue = self._queue(channel)
        if not queue.full():
            queue.put_nowait(message)

    def _queue(self, channel: str) -> asyncio.Queue[dict[str, Any]]:
        return self._queues.setdefault(channel, asyncio.Queue(MAX_WAITING))
