"""What no browser sends: kept from the views, since no database or codec can take it."""

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
    """Refuses hosts that are not allowed, except of probes: a container's check and Prometheus ask by address, not by name."""

    def process_request(self, request: HttpRequest) -> Any:
        return None if request.path_info in PROBES else super().process_request(request)


@sync_and_async_middleware
def validate_requests(get_response: Any) -> Any:
    """Middleware: 400 for what `check` refuses."""

    async def asynchronous(request: HttpRequest) -> Any:
        check(request)
        return await get_response(request)

    def synchronous(request: HttpRequest) -> Any:
        check(request)
        return get_response(request)

    return asynchronous if iscoroutinefunction(get_response) else synchronous


def check(request: HttpRequest) -> None:
    """Leave NULs out of the query (PostgreSQL takes none in texts); refuse one in the path, and a form in a character set other than UTF-8.

    Raises:
        BadRequest: which Django answers with the page for 400.
    """
    if "\0" in request.path_info:
        raise BadRequest("There is a NUL in the address.")
    query = request.META.get("QUERY_STRING", "")
    if "%00" in query:
        request.META["QUERY_STRING"] = query.replace("%00", "")
    charset = (request.content_params or {}).get("charset", "utf-8")
    if charset.lower() not in CHARSETS:
        raise BadRequest("Forms are taken in UTF-8 only.")
