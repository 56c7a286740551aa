"""Check whether Redis, which carries the channel layer, responds; and name the errors that the layer raises."""

from __future__ import annotations

from django.conf import settings

PATIENCE_SECONDS = 3
CHECKED = "patchbay:check"


def _failures() -> tuple[type[Exception], ...]:
    if not settings.REDIS_URL:
        return (OSError, RuntimeError)
    from redis.exceptions import RedisError  # not installed without Redis

    return (OSError, RuntimeError, RedisError)


LAYER_ERRORS = _failures()
"""The errors of sending and receiving while the layer is down. The errors of redis are not subclasses of `OSError`."""


def problem() -> str:
    """Return the reason why the layer does not work, or an empty text. The in-memory layer always works.

    The check does not send a message through the layer: channels_redis receives for one channel at a time, and the chat's hub always
    listens. It writes a key, because a full or read-only Redis still answers pings.
    """
    if not settings.REDIS_URL:
        return ""
    from redis import Redis

    known: tuple[type[Exception], ...] = (*LAYER_ERRORS, ValueError)  # ValueError: REDIS_URL is not a valid address
    try:
        with Redis.from_url(settings.REDIS_URL, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS) as client:
            client.set(CHECKED, "1", ex=60)
    except known as error:
        return f"Redis: {str(error) or type(error).__name__}"
    return ""
