"""Keep the pages of signed-in users out of shared and disk caches."""

from __future__ import annotations

from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware


@sync_and_async_middleware
def private_pages(get_response: Any) -> Any:
    """Add `Cache-Control: no-store` to every answer for a browser with a session, where a view did not decide otherwise."""

    async def asynchronous(request: HttpRequest) -> HttpResponseBase:
        return _marked(request, await get_response(request))

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        return _marked(request, get_response(request))

    return asynchronous if iscoroutinefunction(get_response) else synchronous


def _marked(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if settings.SESSION_COOKIE_NAME in request.COOKIES and not response.has_header("Cache-Control"):
        response["Cache-Control"] = "private, no-store"
    return response
