"""Let apps put texts into a searchable collection without importing the search app.

The search app registers itself in `AppConfig.ready()`. Another app passes it files and gets the address of a collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from webapp.accounts.models import User

Files = Iterable[tuple[str, Iterable[bytes]]]
"""(name, content) of each file. A file replaces the one of the same name in the collection."""
Collect = Callable[[User, str, Files], str]
"""(owner, name of the collection, files) -> address of the collection's page; creates it if missing. Raises `InputError`."""


class _Registered:
    collect: Collect | None = None


def register(collect: Collect) -> None:
    """Register the function that collects texts."""
    _Registered.collect = staticmethod(collect)


def collector() -> Collect | None:
    """Return the registered function; None if there is none."""
    return _Registered.collect
