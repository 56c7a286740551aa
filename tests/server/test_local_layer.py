"""The channel layer of processes on one machine."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from webapp.server.local_layer import MAX_BYTES, LocalChannelLayer


@pytest.fixture
async def layers(tmp_path: Path) -> AsyncIterator[list[LocalChannelLayer]]:
    """Two layers over one folder, as two processes have them."""
    found = [LocalChannelLayer(str(tmp_path / "w")) for _ in range(2)]
    yield found
    for layer in found:
        layer.close()


async def joined(layer: LocalChannelLayer, group: str = "chat.hubs") -> str:
    channel = await layer.new_channel("chat.hub")
    await layer.group_add(group, channel)
    return channel


async def test_a_message_reaches_every_process(layers: list[LocalChannelLayer]) -> None:
    channels = [await joined(layer) for layer in layers]
    await layers[0].group_send("chat.hubs", {"type": "chat.nudge", "what": "more"})
    got = [await asyncio.wait_for(layer.receive(channel), 2) for layer, channel in zip(layers, channels, strict=True)]
    assert got == [{"type": "chat.nudge", "what": "more"}] * 2


async def test_a_process_that_ended_is_forgotten(layers: list[LocalChannelLayer], tmp_path: Path) -> None:
    await joined(layers[0])
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(str(tmp_path / "w" / "dead.sock"))
    dead.close()
    await layers[0].group_send("chat.hubs", {"what": "more"})
    assert not (tmp_path / "w" / "dead.sock").exists()


async def test_a_receiver_that_does_not_read_holds_up_nothing(layers: list[LocalChannelLayer]) -> None:
    sender, slow = layers
    channel = await joined(slow)
    for number in range(3000):
        await sender.group_send("chat.hubs", {"number": number})
    assert (await asyncio.wait_for(slow.receive(channel), 2))["number"] == 0


async def test_a_message_that_is_too_large_is_an_error_of_the_layer(layers: list[LocalChannelLayer]) -> None:
    with pytest.raises(OSError, match="too large"):
        await layers[0].group_send("chat.hubs", {"text": "x" * MAX_BYTES})


async def test_a_channel_that_left_the_group_hears_nothing(layers: list[LocalChannelLayer]) -> None:
    channel = await joined(layers[0])
    await layers[0].group_discard("chat.hubs", channel)
    await layers[0].group_send("chat.hubs", {"what": "more"})
    await layers[0].send(channel, {"what": "direct"})
    assert await layers[0].receive(channel) == {"what": "direct"}
    assert str(os.getpid()) in channel
