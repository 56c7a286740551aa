"""Notify other processes through the channel layer that the database has news."""

from __future__ import annotations

import logging
from typing import Any

from channels.layers import get_channel_layer

from webapp.server.channel_layer import LAYER_ERRORS

logger = logging.getLogger("patchbay.chat")
GROUP = "chat.hubs"


async def nudge_all(message: dict[str, Any]) -> None:
    """Notify the other processes. A lost notification costs them a second, because they also poll."""
    try:
        await get_channel_layer().group_send(GROUP, {"type": "chat.nudge", **message})
    except LAYER_ERRORS as error:
        logger.warning("The channel layer is away: %s", error)
