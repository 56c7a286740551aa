"""What the processes say to each other through the channel layer: that there is more in the database."""

from __future__ import annotations

import logging
from typing import Any

from channels.layers import get_channel_layer

from webapp.server.channel_layer import LAYER_ERRORS

logger = logging.getLogger("patchbay.chat")
GROUP = "chat.hubs"


async def nudge_all(message: dict[str, Any]) -> None:
    """Nudge the other processes. A lost nudge costs them a second: they poll."""
    try:
        await get_channel_layer().group_send(GROUP, {"type": "chat.nudge", **message})
    except LAYER_ERRORS as error:
        logger.warning("The channel layer is away: %s", error)
