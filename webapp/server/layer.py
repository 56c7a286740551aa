"""Whether the channel layer carries messages."""

from __future__ import annotations

import asyncio

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

PATIENCE_SECONDS = 3


def problem() -> str:
    """Why the layer does not work, or nothing: a message is sent through it and received."""
    try:
        async_to_sync(_round_trip)()
    except Exception as error:  # noqa: BLE001 - each layer has exceptions of its own (redis.RedisError is no OSError)
        return f"{type(get_channel_layer()).__name__}: {error or type(error).__name__}"
    return ""


async def _round_trip() -> None:
    layer = get_channel_layer()
    if layer is None:
        raise OSError("no channel layer is configured")
    async with asyncio.timeout(PATIENCE_SECONDS):
        channel = await layer.new_channel()
        await layer.send(channel, {"type": "check"})
        await layer.receive(channel)
