"""Where apps that make texts meet whoever searches: neither imports the other.

The app that searches documents registers itself in `AppConfig.ready()`; another hands it files, and gets the address of a collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from webapp.accounts.models import User

Files = Iterable[tuple[str, Iterable[bytes]]]
"""(name, content) of each; a file of a name that the collection has replaces it."""
Collect = Callable[[User, str, Files], str]
"""(owner, the collection's name, files) -> the address of the collection's page, made where it was missing. Raises `InputError`."""


class _Registered:
    collect: Collect | None = None


def register(collect: Collect) -> None:
    """Have texts collected by `collect`."""
    _Registered.collect = staticmethod(collect)


def collector() -> Collect | None:
    """Who collects them; None where nobody does."""
    return _Registered.collect
