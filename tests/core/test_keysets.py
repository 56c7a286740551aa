"""Pages of a list from a place in its order."""

from __future__ import annotations

import pytest

from webapp.accounts.models import User
from webapp.core.keysets import following, reversed_order


def test_an_order_is_reversed_field_by_field() -> None:
    assert reversed_order(("-created_at", "id")) == ("created_at", "-id")


@pytest.mark.parametrize("order", [("first_name", "pk"), ("-first_name", "-pk"), ("-first_name", "last_name", "pk")])
@pytest.mark.django_db
def test_pages_join_to_the_whole_list(order: tuple[str, ...]) -> None:
    User.objects.bulk_create(User(username=str(number), first_name="ab"[number % 2], last_name="xyz"[number % 3]) for number in range(20))
    whole = list(User.objects.order_by(*order))
    read: list[User] = []
    rows = User.objects.order_by(*order)
    while page := list(rows[:3]):
        read += page
        fields = [field.removeprefix("-") for field in order]
        rows = User.objects.order_by(*order).filter(following(order, [getattr(page[-1], name) for name in fields]))
    assert read == whole
