"""The hot call: one POST with a JSON body, sent as a request that the openai package made once for its path.

The package builds each request anew, and httpx2's client prepares it once more: three quarters of what a request costs (ADR 0007).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx2

Send = Callable[[httpx2.Request], Awaitable[httpx2.Response]]
"""Sends a request; the response's body is unread. Raises httpx2's errors."""
Make = Callable[[str], httpx2.Request]
"""A POST to a path below the base URL, as the package makes it: address, authentication, headers."""


class Poster:
    """POSTs to the few paths of one server.

    Args:
        make: called once for each path.
        send: a transport's, or a client's; it must not follow redirects.
        wait: of httpx2, for the transport.
    """

    def __init__(self, make: Make, send: Send, wait: httpx2.Timeout) -> None:
        self._make = make
        self._send = send
        self._extensions = {"timeout": wait.as_dict()}
        self._templates: dict[str, tuple[httpx2.URL, list[tuple[bytes, bytes]]]] = {}

    async def post(self, path: str, content: bytes) -> httpx2.Response:
        """The response: of a success its body unread, of anything else read and closed."""
        request = self._request(path, content)
        response = await self._send(request)
        if not response.is_success:
            await _read(response, request)
        return response

    def _request(self, path: str, content: bytes) -> httpx2.Request:
        url, headers = self._templates.get(path) or self._template(path)
        length = (b"Content-Length", b"%d" % len(content))
        return httpx2.Request("POST", url, headers=[*headers, length], stream=httpx2.ByteStream(content), extensions=self._extensions)

    def _template(self, path: str) -> tuple[httpx2.URL, list[tuple[bytes, bytes]]]:
        request = self._make(path)
        if request.url.userinfo:  # as httpx2's client does
            request = next(httpx2.BasicAuth(request.url.username, request.url.password).auth_flow(request))
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
        self._templates[path] = request.url, headers
        return self._templates[path]


async def _read(response: httpx2.Response, request: httpx2.Request) -> None:
    response.request = request
    try:
        await response.aread()
    finally:
        await response.aclose()
