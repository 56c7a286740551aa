"""Read a web source: find its pages, store those that changed, and delete those that are gone."""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from collections import deque
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from search import services
from search.models import Source, SourceItem
from search.sources import items
from search.sources.fetching import Fetcher, Page, Unfetched
from search.sources.markup import Links, clean_address, read_links, read_sitemap
from webapp.core.database import in_database
from webapp.patterns.errors import InputError

HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
READ_TYPES: Final = (
    "text/",
    "application/pdf",
    "application/msword",
    "application/vnd.",
    "application/epub+zip",
    "application/rtf",
    "application/json",
)
MAX_SITEMAPS: Final = 50
MAX_DEPTH: Final = 3
MAX_PAGES: Final = 2000
READ_SECONDS: Final = 3600.0
"""Of one read of a source."""


@dataclass(slots=True)
class _Reading:
    """The state of one read.

    Attributes:
        is_complete: whether all pages of the source were found, so that known pages that were not are gone.
        read: pages that were read, changed or not.
        first_failure: why the first page could not be read; empty for none.
    """

    source: Source
    known: dict[str, SourceItem]
    queue: deque[tuple[str, int]] = field(default_factory=deque)
    seen: set[str] = field(default_factory=set)
    roots: tuple[str, ...] = ()
    is_complete: bool = True
    read: int = 0
    first_failure: str = ""

    def add(self, address: str, depth: int) -> None:
        """Queue a page, unless it is queued already or there are enough."""
        if address in self.seen:
            return
        if len(self.seen) >= self.source.max_pages:
            self.is_complete = False
            return
        self.seen.add(address)
        self.queue.append((address, depth))


async def read_source(source: Source) -> str:
    """Read a source once; return why it failed as a whole, or empty. Failures of single pages are noted on the pages."""
    known = {item.address: item for item in await in_database(list, source.items.select_related("document").defer("document__text"))}
    reading = _Reading(source, known)
    try:
        async with asyncio.timeout(READ_SECONDS), Fetcher() as fetcher:
            await _find_pages(reading, fetcher)
            while reading.queue:
                await _read_page(reading, fetcher, *reading.queue.popleft())
    except Unfetched as error:
        return str(error)
    except TimeoutError:
        return f"Reading it takes more than {READ_SECONDS / 60:.0f} minutes"
    if reading.is_complete:
        for address, item in known.items():
            if address not in reading.seen:
                await in_database(items.remove_item, item=item)
    return f"No page could be read. {reading.first_failure}" if reading.first_failure and not reading.read else ""


async def _find_pages(reading: _Reading, fetcher: Fetcher) -> None:
    """Queue the pages that the source lists.

    Raises:
        Unfetched: the sitemap cannot be read.
    """
    source = reading.source
    if source.kind == Source.Kind.SITEMAP:
        for address in await _listed(source.address, fetcher):
            reading.add(address, 0)
        return
    listed = [address for line in source.address.splitlines() if (address := clean_address(line))]
    reading.roots = tuple(_folder(address) for address in listed)
    for address in listed:
        reading.add(address, source.depth)


async def _listed(address: str, fetcher: Fetcher) -> list[str]:
    """Return the pages of a sitemap, or of the sitemaps of an index. Pages of other sites are left out, as the protocol says."""
    pages: dict[str, None] = {}
    sitemaps, seen = deque([address]), {address}
    while sitemaps:
        current = sitemaps.popleft()
        found = await fetcher.page(current)
        try:
            sitemap = await asyncio.to_thread(read_sitemap, found.content or b"")
        except ValueError as error:
            raise Unfetched(f"The sitemap {current} cannot be read. {error}") from error
        pages.update(dict.fromkeys(page for page in sitemap.pages if _site(page) == _site(address)))
        for further in sitemap.sitemaps:
            if further not in seen and len(seen) < MAX_SITEMAPS and _site(further) == _site(address):
                seen.add(further)
                sitemaps.append(further)
    return list(pages)


def _site(address: str) -> str:
    return urlsplit(address).netloc.lower()


def _folder(address: str) -> str:
    """Return the part of an address up to the last slash of its path: links from a page are followed below it."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}{posixpath.dirname(parts.path).rstrip('/')}/"


async def _read_page(reading: _Reading, fetcher: Fetcher, address: str, depth: int) -> None:
    item = reading.known.get(address)
    try:
        page = await fetcher.page(address, etag=item.etag if item else "", last_modified=item.last_modified if item else "")
        links = await _links(page, item)
        await _keep(reading.source, item, address, page)
        reading.read += 1
    except Unfetched as error:
        reading.first_failure = reading.first_failure or str(error)
        reading.is_complete = reading.is_complete and (error.gone or reading.source.depth == 0)
        await _miss(reading.source, item, address, error)
        return
    if page.address != address and page.address in reading.seen:
        await _miss(reading.source, item, address, Unfetched(f"It redirects to {page.address}, which is read, too", gone=True))
    for link in links.addresses if depth else ():
        if link.startswith(reading.roots):
            reading.add(link, depth - 1)


async def _links(page: Page, item: SourceItem | None) -> Links:
    """Return the links of a page.

    Raises:
        Unfetched: the page asks not to be indexed.
    """
    content = page.content if page.content is not None else await _stored(item)
    links = await asyncio.to_thread(read_links, content, page.address) if content and _is_html(page, content) else Links()
    if page.noindex or links.noindex:
        raise Unfetched("The page asks not to be indexed", gone=True)
    return links


async def _stored(item: SourceItem | None) -> bytes:
    """Return the version of a page that is stored: its links are followed although it has not changed."""
    if item is None or item.document_id is None:
        return b""
    path = await asyncio.to_thread(services.kept_file, item.document_id)
    return await asyncio.to_thread(path.read_bytes) if path.exists() else b""


def _is_html(page: Page, content: bytes) -> bool:
    return page.media_type in HTML_TYPES or content.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html"))


async def _keep(source: Source, item: SourceItem | None, address: str, page: Page) -> None:
    """Store the page if it has changed.

    Raises:
        Unfetched: it is of a kind that is not read.
    """
    version = hashlib.sha256(page.content).hexdigest() if page.content is not None else ""
    if item is not None and version in {"", item.version}:
        await in_database(items.note_unchanged, item=item, etag=page.etag, last_modified=page.last_modified)
        return
    if page.media_type and not page.media_type.startswith(READ_TYPES) and page.media_type not in HTML_TYPES:
        raise Unfetched(f"Pages of the type {page.media_type[:60]} are not read")
    try:
        await in_database(
            items.store_version,
            source=source,
            address=address,
            name=_name(address, page),
            content=[page.content or b""],
            version=version,
            etag=page.etag,
            last_modified=page.last_modified,
        )
    except InputError as error:
        raise Unfetched(error.message) from error


def _name(address: str, page: Page) -> str:
    """Return a document's name: the address without its scheme, with the ending that its type has."""
    parts = urlsplit(address)
    name = f"{parts.netloc}{unquote(parts.path)}{f'?{parts.query}' if parts.query else ''}".rstrip("/")
    is_html = page.media_type in HTML_TYPES
    return f"{name}.html" if is_html and not name.endswith((".html", ".htm", ".xhtml")) else name


async def _miss(source: Source, item: SourceItem | None, address: str, error: Unfetched) -> None:
    """Delete a page that is gone; note why another one could not be read."""
    if not error.gone:
        await in_database(items.note_failure, source=source, address=address, why=str(error))
    elif item is not None:
        await in_database(items.remove_item, item=item)
