"""Fetch web pages: bounded in time and size, as robots.txt allows, and only from public addresses.

An address is checked at each redirect, and the address that a name resolves to is checked on connection, as for webhooks.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urljoin, urlsplit

import httpx2
from django.conf import settings

from webapp.patterns.errors import InputError, PatternError
from webapp.patterns.http.addresses import check_url
from webapp.patterns.http.transport import make_transport

if TYPE_CHECKING:
    from protego import Protego

AGENT: Final = "Patchbay"
USER_AGENT: Final = f"{AGENT}/1 (document search)"
MAX_PAGE_BYTES: Final = 20 * 1024 * 1024
MAX_ROBOTS_BYTES: Final = 512 * 1024
MAX_REDIRECTS: Final = 5
PAGE_SECONDS: Final = 30.0
PAUSE_SECONDS: Final = 0.2
"""Between two requests, unless robots.txt asks for a longer pause."""
MAX_PAUSE_SECONDS: Final = 10.0
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
NOT_MODIFIED, GONE = 304, frozenset({404, 410})


class Unfetched(Exception):
    """Report that a page could not be read; the message is for people. `gone`: the server says that it does not exist."""

    def __init__(self, message: str, *, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone


@dataclass(frozen=True, slots=True)
class Page:
    """An answer. `content` is None if the page has not changed. `address` is the one after redirects."""

    address: str
    content: bytes | None
    media_type: str = ""
    etag: str = ""
    last_modified: str = ""
    noindex: bool = False
    """Whether a header asks not to index the page."""


class Fetcher:
    """Fetch pages one after the other, with a pause between two requests. Use it as an async context manager."""

    def __init__(self) -> None:
        self._public = not settings.PRIVATE_WEBHOOKS
        self._clients: dict[str, httpx2.AsyncClient] = {}
        self._robots: dict[str, Protego | Unfetched | None] = {}
        self._last = float("-inf")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def page(self, address: str, *, etag: str = "", last_modified: str = "") -> Page:
        """Return a page.

        Args:
            address: an http(s) address.
            etag: of the version that is known.
            last_modified: of the version that is known.

        Raises:
            Unfetched: it does not exist, robots.txt forbids it, or it could not be read in time.
        """
        known = {"if-none-match": etag, "if-modified-since": last_modified}
        headers = {name: value for name, value in known.items() if value}
        for _ in range(MAX_REDIRECTS + 1):
            await self._demand_permission(address)
            response, content = await self._get(address, headers, MAX_PAGE_BYTES)
            if response.status_code not in REDIRECTS or "location" not in response.headers:
                return _page(address, response, content)
            address = urljoin(address, response.headers["location"])
        raise Unfetched(f"It redirects more than {MAX_REDIRECTS} times")

    async def _demand_permission(self, address: str) -> None:
        """Check the robots.txt of the page's site.

        Raises:
            Unfetched: it forbids the page, or could not be read.
        """
        parts = urlsplit(address)
        site = f"{parts.scheme}://{parts.netloc}"
        if site not in self._robots:
            try:
                self._robots[site] = await self._read_robots(f"{site}/robots.txt")
            except Unfetched as error:
                self._robots[site] = Unfetched(f"Its robots.txt cannot be read. {error}")
        rules = self._robots[site]
        if isinstance(rules, Unfetched):
            raise rules
        if rules is not None and not rules.can_fetch(address, AGENT):
            raise Unfetched("The site's robots.txt forbids it")
        await self._pause(float(rules.crawl_delay(AGENT) or 0) if rules is not None else 0.0)

    async def _read_robots(self, address: str) -> Protego | None:
        """Return the rules of a site; None if it has none. A site whose rules cannot be read is not read either, as RFC 9309 says."""
        from protego import Protego

        for _ in range(MAX_REDIRECTS + 1):
            response, content = await self._get(address, {}, MAX_ROBOTS_BYTES, cut=True)
            if response.status_code in REDIRECTS and "location" in response.headers:
                address = urljoin(address, response.headers["location"])
                continue
            if response.is_success:
                return Protego.parse(content.decode(errors="replace"))
            if response.is_client_error:
                return None
            raise Unfetched(f"The site answered with status {response.status_code}")
        raise Unfetched(f"It redirects more than {MAX_REDIRECTS} times")

    async def _pause(self, seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        wanted = min(max(seconds, PAUSE_SECONDS), MAX_PAUSE_SECONDS)
        await asyncio.sleep(max(0.0, self._last + wanted - clock()))
        self._last = clock()

    async def _get(self, address: str, headers: dict[str, str], limit: int, *, cut: bool = False) -> tuple[httpx2.Response, bytes]:
        """Return an answer and its body of at most `limit` bytes. A longer body is cut, or refused."""
        try:
            check_url(address, public=self._public)
            async with asyncio.timeout(PAGE_SECONDS), self._client(address).stream("GET", address, headers=headers) as response:
                return response, await _body(response, limit, cut=cut)
        except InputError as error:
            raise Unfetched(error.message.rstrip(".")) from error
        except TimeoutError as error:
            raise Unfetched(f"It does not answer within {PAGE_SECONDS:.0f} seconds") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, PatternError, OSError, ValueError) as error:
            raise Unfetched(f"It cannot be reached ({str(error)[:200] or type(error).__name__})") from error

    def _client(self, address: str) -> httpx2.AsyncClient:
        parts = urlsplit(address)
        site = f"{parts.scheme}://{parts.netloc}"
        if site not in self._clients:
            transport = make_transport(address, public=self._public)
            self._clients[site] = httpx2.AsyncClient(
                transport=transport, timeout=PAGE_SECONDS, follow_redirects=False, headers={"user-agent": USER_AGENT}
            )
        return self._clients[site]


async def _body(response: httpx2.Response, limit: int, *, cut: bool) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > limit:
            if cut:
                break
            raise Unfetched(f"It is larger than {limit // 1024 // 1024} MB")
    return bytes(body[:limit])


def _page(address: str, response: httpx2.Response, content: bytes) -> Page:
    if response.status_code in GONE:
        raise Unfetched(f"It does not exist (status {response.status_code})", gone=True)
    if response.status_code != NOT_MODIFIED and not response.is_success:
        raise Unfetched(f"The site answered with status {response.status_code}")
    return Page(
        address,
        None if response.status_code == NOT_MODIFIED else content,
        media_type=response.headers.get("content-type", "").partition(";")[0].strip().lower(),
        etag=response.headers.get("etag", "")[:500],
        last_modified=response.headers.get("last-modified", "")[:100],
        noindex="noindex" in response.headers.get("x-robots-tag", "").lower(),
    )
