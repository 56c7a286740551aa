"""Reject NUL bytes and non-UTF-8 forms before views run: no database or codec accepts them."""

from __future__ import annotations

from typing import Any

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.middleware.common import CommonMiddleware
from django.utils.decorators import sync_and_async_middleware

CHARSETS = {"utf-8", "utf8"}
PROBES = {"/healthz", "/readyz", "/metrics"}


class HostCheck(CommonMiddleware):
    """Refuse hosts that are not allowed, except for probes: container checks and Prometheus use the address, not the name."""

    def process_request(self, request: HttpRequest) -> Any:
        """Check the host, except for health probes."""
        return None if request.path_info in PROBES else super().process_request(request)


@sync_and_async_middleware
def validate_requests(get_response: Any) -> Any:
    """Answer 400 to requests that `check` refuses."""

    async def asynchronous(request: HttpRequest) -> Any:
        check(request)
        return await get_response(request)

    def synchronous(request: HttpRequest) -> Any:
        check(request)
        return get_response(request)

    return asynchronous if iscoroutinefunction(get_response) else synchronous


def check(request: HttpRequest) -> None:
    """Remove NULs from the query, which PostgreSQL rejects in texts. Refuse a NUL in the path and forms that are not UTF-8.

    Raises:
        BadRequest: Django answers it with the page for 400.
    """
    if "\0" in request.path_info:
        raise BadRequest("The address contains a NUL byte.")
    query = request.META.get("QUERY_STRING", "")
    if "%00" in query:
        request.META["QUERY_STRING"] = query.replace("%00", "")
    charset = (request.content_params or {}).get("charset", "utf-8")
    if charset.lower() not in CHARSETS:
        raise BadRequest("Forms must be in UTF-8.")
