"""Page through a large table in the admin by position (keyset pagination), without counting its rows.

A page starts after the last row of the one before, so page 1,000 costs as much as page 1. Filters that no index serves look at a bounded
number of rows; the page then says how far it looked, and offers to go on.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from webapp.core.keysets import following, reversed_order

if TYPE_CHECKING:
    Place = tuple[datetime, int]

BEFORE: Final = "before"
AFTER: Final = "after"
ORDER: Final = ("-created_at", "-id")
SCANNED: Final = 50_000
"""Rows that a filtered list looks at for one page: some 100 ms where no row matches."""


class KeysetChangeList(ChangeList):
    """A change list in the order of `created_at` and `id`, newest first.

    Attributes:
        older, newer: the query strings of the neighboring pages; empty where there is none.
        searched_to: the time up to which a filtered list has looked at rows; None if it has filled its page or seen all rows.
    """

    older = newer = ""
    searched_to: datetime | None = None

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Return the parameters of the filters, without those of the position."""
        found: dict[str, Any] = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in {BEFORE, AFTER}}

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:  # noqa: ARG002 - Django's signature
        """Return the only order that the list has."""
        return list(ORDER)

    def get_query_string(self, new_params: Any = None, remove: Any = None) -> str:
        """Return a query string for a link. One that changes a filter starts at the first page."""
        return str(super().get_query_string({BEFORE: None, AFTER: None, **(new_params or {})}, remove))

    def get_results(self, request: HttpRequest) -> None:
        """Read one page. Called by Django."""
        before, after = _place(request.GET.get(BEFORE)), _place(request.GET.get(AFTER))
        rows = self._page(self._from(before, after), backward=after is not None)
        self.result_list = rows[: self.list_per_page] if after is None else rows[: self.list_per_page][::-1]
        more = len(rows) > self.list_per_page
        if self.result_list:
            first, last = self.result_list[0], self.result_list[-1]
            self.newer = self._link(AFTER, first) if before or (after and more) else ""
            self.older = self._link(BEFORE, last) if more or after else ""
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all, self.multi_page = True, False
        self.paginator = Paginator(self.result_list, self.list_per_page)

    def _from(self, before: Place | None, after: Place | None) -> Q:
        if after:
            return following(reversed_order(ORDER), after)
        return following(ORDER, before) if before else Q()

    def _page(self, place: Q, *, backward: bool) -> list[Any]:
        """Return the rows of the page and one more, in the direction of reading."""
        order = reversed_order(ORDER) if backward else ORDER
        rows = self.queryset.order_by(*order).filter(place)
        if not (self.has_active_filters or self.query):
            return list(rows[: self.list_per_page + 1])
        every = self.model._default_manager.order_by(*order).filter(place)
        edge = every.values_list("created_at", "pk")[SCANNED : SCANNED + 1].first()
        if edge:
            rows = rows.filter(created_at__lte=edge[0]) if backward else rows.filter(created_at__gte=edge[0])
        found = list(rows[: self.list_per_page + 1])
        if edge and len(found) <= self.list_per_page and not backward:
            self.searched_to = edge[0]
            self.older_than_searched = super().get_query_string({BEFORE: _text(edge), AFTER: None})
        return found

    def _link(self, name: str, row: Any) -> str:
        other = AFTER if name == BEFORE else BEFORE
        return str(super().get_query_string({name: _text((row.created_at, row.pk)), other: None}))


def _text(place: Place) -> str:
    return f"{place[0].isoformat()}_{place[1]}"


def _place(text: str | None) -> Place | None:
    """Return the position that a link names; None for anything else."""
    when, _, number = (text or "").rpartition("_")
    try:
        place = datetime.fromisoformat(when.replace(" ", "+")), int(number)
    except ValueError:
        return None
    return place if place[0].tzinfo and 0 <= place[1] < 2**63 else None


def request_id(query: str) -> uuid.UUID | None:
    """Return the request id that a search names, if it is one."""
    try:
        return uuid.UUID(query.strip())
    except ValueError:
        return None
