"""Read a long list page by page from a place in its order, so that a page costs the same wherever it is (keyset pagination)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Q


def following(order: Sequence[str], place: Sequence[Any]) -> Q:
    """Return the condition for the rows that come after a place.

    Args:
        order: the fields that the list is sorted by, as for `order_by`. Together they are unique.
        place: the values of these fields in the last row that was read.
    """
    name, side = order[0].removeprefix("-"), "lt" if order[0].startswith("-") else "gt"
    beyond = Q(**{f"{name}__{side}": place[0]})
    if len(order) == 1:
        return beyond
    # The first condition says nothing new, but an index on the first field serves it.
    return Q(**{f"{name}__{side}e": place[0]}) & (beyond | Q(**{name: place[0]}) & following(order[1:], place[1:]))


def reversed_order(order: Sequence[str]) -> tuple[str, ...]:
    """Return the opposite order."""
    return tuple(field[1:] if field.startswith("-") else f"-{field}" for field in order)
