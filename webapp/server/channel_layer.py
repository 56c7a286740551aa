"""Whether Redis, which carries the channel layer, answers; and what the layer raises when it does not."""

from __future__ import annotations

from django.conf import settings

PATIENCE_SECONDS = 3
CHECKED = "patchbay:check"


def _failures() -> tuple[type[Exception], ...]:
    if not settings.REDIS_URL:
        return (OSError, RuntimeError)
    from redis.exceptions import RedisError  # an installation without Redis need not have it

    return (OSError, RuntimeError, RedisError)


LAYER_ERRORS = _failures()
"""What sending and receiving raise while the layer is away: the errors of redis are no `OSError`."""


def problem() -> str:
    """Why the layer does not work, or nothing; the one in memory always does.

    Not by a message through the layer: channels_redis receives for one channel at a time, and the chat's hub listens always. A write, since
    a full or read-only Redis still answers pings.
    """
    if not settings.REDIS_URL:
        return ""
    from redis import Redis

    known: tuple[type[Exception], ...] = (*LAYER_ERRORS, ValueError)  # ValueError: an address that is none
    try:
        with Redis.from_url(settings.REDIS_URL, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS) as client:
            client.set(CHECKED, "1", ex=60)
    except known as error:
        return f"Redis: {str(error) or type(error).__name__}"
    return ""
