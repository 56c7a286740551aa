"""Web sources: pages are read, followed, and forgotten, as robots.txt allows, within limits, and never from inside the network."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from search.models import Collection, Document, Source, SourceItem
from search.sources import fetching, items, schedule
from search.sources.markup import clean_address, read_links, read_sitemap
from tests.search.conftest import run_ingestion
from tests.upstream import Received, Upstream, Wire
from tests.users import Users
from webapp.patterns.errors import InputError


class Site:
    """A web site: path -> body. It answers with ETags, and keeps what it was asked."""

    def __init__(self, upstream: Upstream) -> None:
        self.pages: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.statuses: dict[str, int] = {}
        self.upstream = upstream
        self.root = f"http://127.0.0.1:{upstream.port}"

    def put(self, path: str, body: str | bytes, media_type: str = "text/html", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = (body.encode() if isinstance(body, str) else body, {"content-type": media_type, **named})
        self.upstream.paths[path] = self._answer

    @property
    def asked(self) -> list[str]:
        return [received.path for received in self.upstream.requests]

    async def _answer(self, received: Received, wire: Wire) -> None:
        if received.path in self.statuses or received.path not in self.pages:
            await wire.start(self.statuses.get(received.path, 404), "text/plain")
            await wire.end(b"nothing here")
            return
        body, headers = self.pages[received.path]
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        unchanged = received.headers.get("if-none-match") == etag
        code = 304 if unchanged else 302 if "location" in headers else 200
        await wire.start(code, headers=headers | {"etag": etag})
        await wire.end(b"" if unchanged else body)


def html(title: str, *links: str) -> str:
    body = "".join(f'<p><a href="{link}">{link}</a></p>' for link in links)
    main = f"<main><h1>{title}</h1><p>About {title}.</p>{body}</main>"
    return f"<!doctype html><html><head><title>{title}</title></head><body>{main}</body></html>"


@pytest.fixture
def site(upstream: Upstream, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site on this machine, which the settings allow to be read."""
    settings.PRIVATE_WEBHOOKS = True
    monkeypatch.setattr(fetching, "PAUSE_SECONDS", 0.0)
    return Site(upstream)


Follow = Callable[..., Source]


@pytest.fixture
def follow(collection: Collection, site: Site) -> Follow:
    """Make a source of pages of the site, and read it."""

    def make(*paths: str, kind: Source.Kind = Source.Kind.PAGES, **options: Any) -> Source:
        addresses = [f"{site.root}{path}" for path in paths]
        return read(items.create_web_source(collection=collection, kind=kind, addresses=addresses, **options))

    return make


def read(source: Source) -> Source:
    """Read a source, and bring its documents to their end."""
    asyncio.run(schedule.read(source))
    for document in Document.objects.filter(state="queued"):
        run_ingestion(document)
    source.refresh_from_db()
    return source


def names(source: Source) -> set[str]:
    """The ends of the names of a source's documents."""
    return {name.partition("/")[2] for name in source.items.exclude(document=None).values_list("document__name", flat=True)}


def test_pages_are_read_and_changes_and_deletions_followed(site: Site, follow: Follow, collection: Collection) -> None:
    site.put("/a", html("Alpha"))
    site.put("/b.html", html("Beta"))
    source = follow("/a", "/b.html")
    assert names(source) == {"a.html", "b.html"}
    assert source.why == ""
    assert {document.state for document in collection.documents.all()} == {"ready"}
    alpha = collection.documents.get(name__endswith="a.html")
    assert "About Alpha" in alpha.text
    site.put("/b.html", html("Beta, changed"))
    read(source)
    assert collection.documents.get(name__endswith="a.html") == alpha, "304: it is the same document"
    assert "changed" in collection.documents.get(name__endswith="b.html").text
    site.statuses["/a"] = 410
    read(source)
    assert names(source) == {"b.html"}
    assert not Document.objects.filter(pk=alpha.pk).exists()


def test_an_unchanged_page_is_asked_for_with_its_etag(site: Site, follow: Follow) -> None:
    site.put("/a", html("Alpha"), last_modified="Tue, 01 Dec 2026 00:00:00 GMT")
    source = follow("/a")
    read(source)
    again = site.upstream.requests[-1]
    assert again.headers["if-none-match"].startswith('"')
    assert again.headers["if-modified-since"] == "Tue, 01 Dec 2026 00:00:00 GMT"
    assert again.headers["user-agent"].startswith("Patchbay")


def test_a_site_that_fails_for_a_while_loses_nothing(site: Site, follow: Follow) -> None:
    site.put("/a", html("Alpha"))
    source = follow("/a")
    site.statuses["/a"] = 503
    read(source)
    assert names(source) == {"a.html"}
    assert source.why == "No page could be read. The site answered with status 503"
    assert SourceItem.objects.get().why == "The site answered with status 503"
    del site.statuses["/a"]
    read(source)
    assert (source.why, SourceItem.objects.get().why) == ("", "")


def test_robots_txt_is_respected(site: Site, follow: Follow) -> None:
    site.put(
        "/robots.txt", "User-agent: *\nDisallow: /private/\nDisallow: /*.php$\n\nUser-agent: Patchbay\nDisallow: /ours/\n", "text/plain"
    )
    for path in ("/ours/a", "/private/a"):
        site.put(path, html(path))
    source = follow("/ours/a", "/private/a")
    assert names(source) == {"private/a.html"}, "the group for Patchbay counts, and not the one for all"
    assert "/ours/a" not in site.asked
    assert source.items.get(address__endswith="/ours/a").why == "The site's robots.txt forbids it"


def test_a_site_whose_robots_txt_cannot_be_read_is_left_alone(site: Site, follow: Follow) -> None:
    site.put("/robots.txt", "")
    site.statuses["/robots.txt"] = 500
    site.put("/a", html("Alpha"))
    site.put("/b", html("Beta"))
    source = follow("/a", "/b")
    assert site.asked == ["/robots.txt"]
    assert "robots.txt cannot be read" in source.why


def test_links_are_followed_below_the_page_up_to_the_depth_and_the_limit(site: Site, follow: Follow) -> None:
    site.put("/docs/", html("Start", "one", "/docs/two#part", "/elsewhere", "https://example.com/docs/x", "mailto:a@b.c"))
    site.put("/docs/one", html("One", "deep"))
    site.put("/docs/two", html("Two"))
    site.put("/docs/deep", html("Deep", "deeper"))
    site.put("/docs/deeper", html("Deeper"))
    site.put("/elsewhere", html("Elsewhere"))
    source = follow("/docs/", depth=2)
    assert names(source) == {"docs.html", "docs/one.html", "docs/two.html", "docs/deep.html"}
    site.put("/docs/one", html("One"))
    read(source)
    assert names(source) == {"docs.html", "docs/one.html", "docs/two.html"}, "a page that nothing links to any more is gone"
    assert names(follow("/docs/", depth=2, max_pages=2)) == {"docs.html", "docs/one.html"}


def test_pages_of_a_sitemap_are_read(site: Site, follow: Follow) -> None:
    def sitemap(*paths: str) -> str:
        entries = "".join(f"<url><loc>{site.root}{path}</loc></url>" for path in paths)
        return f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}<url><loc>https://example.com/x</loc></url></urlset>'

    index = f"<sitemapindex xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'><sitemap><loc>{site.root}/pages.xml.gz</loc></sitemap></sitemapindex>"
    site.put("/sitemap.xml", index, "application/xml")
    site.put("/pages.xml.gz", gzip.compress(sitemap("/a", "/b").encode()), "application/gzip")
    for path in ("/a", "/b"):
        site.put(path, html(path))
    source = follow("/sitemap.xml", kind=Source.Kind.SITEMAP)
    assert names(source) == {"a.html", "b.html"}
    site.put("/pages.xml.gz", gzip.compress(sitemap("/b").encode()), "application/gzip")
    read(source)
    assert names(source) == {"b.html"}
    site.put("/sitemap.xml", "<html>", "application/xml")
    read(source)
    assert "cannot be read" in source.why
    assert names(source) == {"b.html"}, "a broken sitemap deletes nothing"


def test_pages_that_ask_not_to_be_indexed_are_not(site: Site, follow: Follow) -> None:
    site.put("/meta", '<!doctype html><html><head><meta name="robots" content="noindex"></head><body>Secret</body></html>')
    site.put("/header", html("Secret"), x_robots_tag="noindex")
    site.put("/open", html("Open"))
    assert names(follow("/meta", "/header", "/open")) == {"open.html"}


def test_redirects_are_followed_and_checked(site: Site, follow: Follow) -> None:
    site.put("/old", "", location="/new")
    site.put("/new", html("New"))
    site.put("/loop", "", location="/loop")
    source = follow("/old", "/loop")
    assert source.items.get(address__endswith="/loop").why == "It redirects more than 5 times"
    assert names(source) == {"old.html"}


def test_a_large_or_foreign_page_is_refused(site: Site, follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_PAGE_BYTES", 1024 * 1024)
    site.put("/large", html("x" * 2_000_000))
    site.put("/picture", b"\x89PNG", "image/png")
    source = follow("/large", "/picture")
    assert [item.why for item in source.items.order_by("address")] == ["It is larger than 1 MB", "Pages of the type image/png are not read"]


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1/", "http://localhost/x", "http://10.0.0.1/", "http://169.254.169.254/", "http://[::1]/"]
)
def test_addresses_inside_the_network_are_refused(collection: Collection, address: str) -> None:
    """FAULTS 14."""
    with pytest.raises(InputError):
        items.create_web_source(collection=collection, kind=Source.Kind.PAGES, addresses=[address])


def test_a_redirect_to_the_inside_is_refused(site: Site, follow: Follow) -> None:
    """FAULTS 14: metadata addresses stay refused where private ones are allowed."""
    site.put("/out", "", location="http://169.254.169.254/latest/meta-data/")
    source = follow("/out")
    assert "link-local or metadata" in SourceItem.objects.get(source=source).why


def test_a_source_is_claimed_when_it_is_due_and_by_one_worker(site: Site, collection: Collection) -> None:
    source = items.create_web_source(collection=collection, kind=Source.Kind.PAGES, addresses=[f"{site.root}/a"], every_minutes=60)
    claimed = schedule.claim()
    assert claimed == source
    assert schedule.claim() is None
    source = read(claimed)
    assert source.next_read_at is not None
    assert timedelta(minutes=59) < source.next_read_at - timezone.now() <= timedelta(minutes=60)
    assert schedule.claim() is None


def test_the_command_reads_and_indexes(site: Site, follow: Follow, collection: Collection) -> None:
    site.put("/a", html("Alpha"))
    source = items.create_web_source(collection=collection, kind=Source.Kind.PAGES, addresses=[f"{site.root}/a"])
    out = StringIO()
    call_command("read_sources", collection="Library", stdout=out)
    assert out.getvalue().splitlines() == [f"{site.root}/a: read", f"Library: {site.root}/a: up to date"]
    assert collection.documents.get().state == "ready"
    site.statuses["/a"] = 500
    with pytest.raises(SystemExit):
        call_command("read_sources", stdout=out)
    source.refresh_from_db()
    assert source.why


def test_the_page_adds_reads_and_deletes_sources(site: Site, users: Users, collection: Collection, client: Client) -> None:
    browser = Client()
    browser.force_login(users.owner)
    path = f"/search/collections/{collection.pk}/sources/"
    form = {"kind": "pages", "addresses": f"{site.root}/a\n{site.root}/b", "depth": 0, "max_pages": 10, "every_minutes": 60}
    assert browser.post(path, form).status_code == 302
    site.put("/a", html("Alpha"))
    source = read(Source.objects.get())
    page = browser.get(path).content.decode()
    assert "Up to date" in page
    assert "every hour" in page
    assert browser.post(f"{path}{source.pk}/", {"do": "read"}).status_code == 302
    assert schedule.claim() == source
    for wrong in ("ftp://x", "javascript:alert(1)", "no address"):
        assert browser.post(path, {**form, "addresses": wrong}).status_code == 422
    assert browser.post(path, {**form, "kind": "sitemap"}).status_code == 422
    browser.post(f"{path}{source.pk}/", {"do": "delete"})
    assert not collection.documents.exists()
    assert not Source.objects.exists()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/b?x=1#y", "https://e.org/b?x=1"),
        ("c", "https://e.org/a/c"),
        ("javascript:alert(1)", ""),
        ("http://[broken", ""),
        ("https://e.org:99999/", ""),
        ("https://e.org/" + "x" * 2000, ""),
    ],
)
def test_links_become_absolute_addresses_or_nothing(text: str, address: str) -> None:
    assert clean_address(text, "https://e.org/a/b") == address


@pytest.mark.parametrize("content", [b"", b"\0\xff", b"<" * 10_000, b"<a>" * 100_000, b"<html><a href='http://[x'>"])
def test_broken_pages_have_no_links(content: bytes) -> None:
    assert read_links(content, "https://e.org/").addresses == []


@pytest.mark.parametrize("content", [b"", b"<html/>", b"\x1f\x8bbroken", b"<urlset><url>", b'<!DOCTYPE x [<!ENTITY a "b">]><urlset>&a;'])
def test_broken_sitemaps_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"It "):
        read_sitemap(content)
