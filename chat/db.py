"""The database from asynchronous code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import ParamSpec, TypeVar

from webapp.backends.db import in_database

P = ParamSpec("P")
T = TypeVar("T")


def read(run: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """`run` on one of the threads of the caller's context."""
    return partial(in_database, run)
