"""The few threads in which the sockets and the answers of this process reach the database.

A thread for each of them would cost a stack, and a connection opened and closed with every query: with 256 answers begun at once that was
a third of all work. What runs here is short, so four threads serve them all.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

from asgiref.sync import ThreadSensitiveContext
from django.db import connections

SIZE = 4
KEEP_SECONDS = 60


def shared() -> ThreadSensitiveContext:
    """A context, to be entered with `async with`, whose database calls are made in one of the shared threads."""
    return ThreadSensitiveContext(executor=next(_executors))


def _keep_connections() -> None:
    """SQLite's connections stay open in this thread; PostgreSQL's come from the pool of its driver."""
    for connection in connections.all():
        if connection.vendor == "sqlite":
            connection.settings_dict = {**connection.settings_dict, "CONN_MAX_AGE": KEEP_SECONDS}


_executors = cycle([ThreadPoolExecutor(1, f"database-{number}", initializer=_keep_connections) for number in range(SIZE)])
