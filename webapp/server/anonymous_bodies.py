"""Refuse large bodies of requests without a sign-in before they are stored.

Django reads a request's body, into a file on disk from 2.5 MB on, before any middleware or view can look at the session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, parse_cookie

from webapp.core.database import in_database
from webapp.server.asgi import Application, Receive, Scope, Send, invalid_request, send_json

MAX_ANONYMOUS_BYTES = 1024 * 1024
"""More than any form that works without a sign-in."""
SignedIn = Callable[[Scope], Awaitable[bool]]


async def is_signed_in(scope: Scope) -> bool:
    """Return whether the session of a request belongs to an active user."""
    cookies = next((value for name, value in scope["headers"] if name == b"cookie"), b"").decode("latin-1")
    key = parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME, "")
    return bool(key) and await in_database(_is_valid, key)


def _is_valid(key: str) -> bool:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    return bool(get_user(request).is_active)


class AnonymousBodyLimit:
    """Answer 413 to a large body of a request without a sign-in, by its Content-Length or as soon as too many bytes have arrived."""

    def __init__(self, app: Application, *, signed_in: SignedIn = is_signed_in, most: int = MAX_ANONYMOUS_BYTES) -> None:
        self.app, self._signed_in, self._most = app, signed_in, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on. The session is looked up for large bodies only."""
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > self._most:
            if await self._signed_in(scope):
                await self.app(scope, receive, send)
            else:
                await _refuse(send)
            return
        await _Exchange(self, scope, receive, send).run()

    async def allows(self, scope: Scope) -> bool:
        """Return whether a request may bring more than the limit."""
        return await self._signed_in(scope)

    def is_large(self, size: int) -> bool:
        """Return whether a body of this size needs a sign-in."""
        return size > self._most


class _Exchange:
    """One request whose length is not stated, or small."""

    def __init__(self, limit: AnonymousBodyLimit, scope: Scope, receive: Receive, send: Send) -> None:
        self._limit, self._scope, self._receive, self._send = limit, scope, receive, send
        self._size = 0
        self._allowed = self._refused = False

    async def run(self) -> None:
        """Pass the request on, and count its body."""
        await self._limit.app(self._scope, self._counted, self._answer)

    async def _counted(self) -> Mapping[str, Any]:
        if self._refused:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._allowed or not self._limit.is_large(self._size):
            return message
        self._allowed = await self._limit.allows(self._scope)
        if self._allowed:
            return message
        self._refused = True
        await _refuse(self._send)
        return {"type": "http.disconnect"}

    async def _answer(self, message: Mapping[str, Any]) -> None:
        if not self._refused:
            await self._send(message)


async def _refuse(send: Send) -> None:
    message = f"Without a sign-in, a request may bring {MAX_ANONYMOUS_BYTES // (1024 * 1024)} MB. Sign in to send more."
    await send_json(send, 413, invalid_request(message, "request_too_large"), headers=[(b"connection", b"close")])
