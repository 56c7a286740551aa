"""Read addresses from web pages and sitemaps."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urldefrag, urljoin, urlsplit

MAX_ADDRESS_CHARS: Final = 2000
MAX_LINKS: Final = 5000
MAX_SITEMAP_BYTES: Final = 50 * 1024 * 1024
"""The limit of the sitemap protocol."""
GZIP_MAGIC: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Links:
    """The links of a page. `noindex`: the page asks not to be indexed."""

    addresses: list[str] = field(default_factory=list)
    noindex: bool = False


def read_links(content: bytes, base: str) -> Links:
    """Return the links of an HTML page at the address `base`, in order, each once. A broken page has none."""
    from lxml import etree, html

    try:
        tree = html.document_fromstring(content, parser=html.HTMLParser(encoding=None, huge_tree=False))
    except (etree.LxmlError, ValueError):
        return Links()
    directives = ",".join(
        meta.get("content") or "" for meta in tree.iter("meta") if (meta.get("name") or "").lower() in ("robots", "patchbay")
    )
    if "nofollow" in directives.lower():
        return Links(noindex="noindex" in directives.lower())
    base = next((urljoin(base, element.get("href")) for element in tree.iter("base") if element.get("href")), base)
    found: dict[str, None] = {}
    for link in tree.iter("a", "area"):
        href = link.get("href")
        if href and "nofollow" not in (link.get("rel") or "") and (address := clean_address(href, base)):
            found[address] = None
        if len(found) >= MAX_LINKS:
            break
    return Links(list(found), noindex="noindex" in directives.lower())


def clean_address(text: str, base: str = "") -> str:
    """Return an absolute http(s) address without its fragment; empty for anything else."""
    try:
        address = urldefrag(urljoin(base, text.strip())).url
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return ""
    return address if usable and len(address) <= MAX_ADDRESS_CHARS and address.isprintable() and " " not in address else ""


@dataclass(frozen=True, slots=True)
class Sitemap:
    """The pages that a sitemap lists, and the further sitemaps of an index."""

    pages: list[str] = field(default_factory=list)
    sitemaps: list[str] = field(default_factory=list)


def read_sitemap(content: bytes) -> Sitemap:
    """Read a sitemap: XML, compressed XML, or a text with an address a line.

    Raises:
        ValueError: it is none of these, or too large.
    """
    from lxml import etree

    content = _unpacked(content)
    if not content.lstrip().startswith(b"<"):
        pages = [address for line in content.decode(errors="replace").splitlines() if (address := clean_address(line))]
        if not pages:
            raise ValueError("It lists no pages")
        return Sitemap(pages)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise ValueError(f"It is not XML: {error}") from error
    found = Sitemap()
    kind = etree.QName(root).localname
    if kind not in {"urlset", "sitemapindex"}:
        raise ValueError(f"It is not a sitemap, but <{kind}>")
    for location in root.iterfind("{*}*/{*}loc"):
        if address := clean_address(location.text or ""):
            (found.pages if kind == "urlset" else found.sitemaps).append(address)
    return found


def _unpacked(content: bytes) -> bytes:
    if not content.startswith(GZIP_MAGIC):
        return content
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(content, MAX_SITEMAP_BYTES)
    except zlib.error as error:
        raise ValueError(f"It is not a compressed sitemap: {error}") from error
    if unpacker.unconsumed_tail:
        raise ValueError(f"It unpacks to more than {MAX_SITEMAP_BYTES // 1024 // 1024} MB")
    return unpacked
