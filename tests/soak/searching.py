"""A person who searches, and adds documents meanwhile, through the pages."""

from __future__ import annotations

import asyncio
import re
import time
from random import Random

import httpx2
import lxml.html

from tests.soak.server import Server
from tests.soak.tally import Tally

PATIENCE = 90.0
PAUSE = 0.5
QUERIES_A_DOCUMENT = 15


def word(number: int) -> str:
    """A word that only document `number` has, nor any other of its stem: the full text would hold “zebrabe” for “zebrab”."""
    return "zebra" + "".join("bcdfghjkmn"[int(digit)] for digit in str(number))


def document(number: int) -> tuple[str, bytes]:
    """Name and content."""
    return f"paper-{number}.md", f"# Paper {number}\n\nThis paper is about {word(number)} and little else.\n".encode()


def results(html: str) -> list[str]:
    """The names of the documents that a page of results shows, in order, one for each passage."""
    links = lxml.html.fromstring(f"<div>{html}</div>").xpath("//*[@data-testid='search-result']//h3/a")
    return [link.text_content().strip() for link in links]


class Searcher:
    """Every document that a page said it had taken is found by its word, once, and first."""

    def __init__(self, server: Server, tally: Tally, random: Random) -> None:
        self._server, self._tally, self._random = server, tally, random
        self._http = httpx2.AsyncClient(base_url=server.live.url, timeout=20)
        self._ready = 1  # the one that made the collection

    async def run(self) -> None:
        signed_in = await asyncio.to_thread(self._server.live.sign_in, "owner")
        self._http.cookies.update(signed_in.cookies)
        self._http.headers["X-CSRFToken"] = signed_in.cookies["csrftoken"]
        page = await self._again("GET", "/search/collections/")
        (collection,) = set(re.findall(r"/search/collections/\d+/", page.text))
        while not self._server.over.is_set():
            await self._add(collection, self._ready)
            for _ in range(QUERIES_A_DOCUMENT):
                await self._search(self._random.randrange(self._ready))
                await asyncio.sleep(PAUSE)
        await self._http.aclose()

    async def _again(self, method: str, path: str, **content: object) -> httpx2.Response:
        """Until the server is there to answer it; a refusal ends the soak."""
        while True:
            try:
                response = await self._http.request(method, path, **content)  # type: ignore[arg-type]  # httpx2's own many types
            except httpx2.HTTPError:
                self._tally.told["search connection"] += 1
                await asyncio.sleep(0.3)
            else:
                assert response.status_code in {200, 302}, f"{method} {path} answered {response.status_code}: {response.text[-3000:]}"
                return response

    async def _add(self, collection: str, number: int) -> None:
        """Upload a document and wait until it is found."""
        name, content = document(number)
        await self._again("POST", f"{collection}upload/", files={"files": (name, content)})
        deadline = time.monotonic() + PATIENCE
        while name not in await self._found(number):
            if time.monotonic() > deadline:
                self._tally.lost.append(f"{name} was taken and is not found after {PATIENCE:.0f} s")
                break
            await asyncio.sleep(PAUSE)
        self._ready += 1

    async def _found(self, number: int) -> list[str]:
        return results((await self._again("GET", "/search/", params={"q": word(number)})).text)

    async def _search(self, number: int) -> None:
        name, found = document(number)[0], await self._found(number)
        if found[:1] != [name]:
            self._tally.lost.append(f"the first for {word(number)} was {found[:1]}, not {name}")
        if found.count(name) > 1:
            self._tally.doubled.append(f"{name} was found {found.count(name)} times")
        self._tally.done["searches"] += 1
