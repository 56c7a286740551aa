"""Share a few database threads among the sockets and answers of this process.

A thread for each of them would cost a stack, and would open and close a connection for every query: with 256 answers starting at once,
that was a third of all work. The calls are short, so four threads serve them all.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

from asgiref.sync import ThreadSensitiveContext
from django.db import connections

SIZE = 4
KEEP_SECONDS = 60


def shared() -> ThreadSensitiveContext:
    """Return a context for `async with` whose database calls run in one of the shared threads."""
    return ThreadSensitiveContext(executor=next(_executors))


def _keep_connections() -> None:
    """Keep SQLite connections open in this thread. PostgreSQL connections come from the driver's pool."""
    for connection in connections.all():
        if connection.vendor == "sqlite":
            connection.settings_dict = {**connection.settings_dict, "CONN_MAX_AGE": KEEP_SECONDS}


_executors = cycle([ThreadPoolExecutor(1, f"database-{number}", initializer=_keep_connections) for number in range(SIZE)])
