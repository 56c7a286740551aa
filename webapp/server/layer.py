"""Whether the channel layer carries messages, and what it raises when it does not."""

from __future__ import annotations

import asyncio

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings

PATIENCE_SECONDS = 3


def _failures() -> tuple[type[Exception], ...]:
    if not settings.REDIS_URL:
        return (OSError, RuntimeError)
    from redis.exceptions import RedisError  # an installation without Redis need not have it

    return (OSError, RuntimeError, RedisError)


AWAY = _failures()
"""What sending and receiving raise while the layer is away: the errors of redis are no `OSError`."""


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
