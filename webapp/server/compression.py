"""Compress pages. Static files are compressed when they are collected; downloads and streams are sent as they are."""

from __future__ import annotations

import asyncio
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.utils.decorators import sync_and_async_middleware


@sync_and_async_middleware
def compressed_pages(get_response: Any) -> Any:
    """Compress HTML responses with gzip and random padding, as Django does against guessing by length (BREACH)."""
    gzip = GZipMiddleware(get_response)

    async def asynchronous(request: HttpRequest) -> Any:
        response = await get_response(request)
        return await asyncio.to_thread(gzip.process_response, request, response) if _is_page(response) else response

    def synchronous(request: HttpRequest) -> Any:
        response = get_response(request)
        return gzip.process_response(request, response) if _is_page(response) else response

    return asynchronous if iscoroutinefunction(get_response) else synchronous


def _is_page(response: HttpResponseBase) -> bool:
    return not response.streaming and response.headers.get("Content-Type", "").startswith("text/html")
