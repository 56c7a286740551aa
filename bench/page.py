"""Measure the chat page in headless Chromium: weight of the first load, time until it is usable, cost of a long answer.

    python -m bench page [loads] [tokens a second]

Aims (issue 5): first load under 120 KB, JavaScript under 60 KB, all compressed; usable (drawn, scripts run, socket open) within 300 ms;
a conversation of 2,000 messages within 1.5 times an empty one; while 200 KB stream in, the browser's main thread busy under 25 % and the
server's CPU a token in the last 10 KB within 1.3 times that of the first.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.chat import product

if TYPE_CHECKING:
    import httpx2
    from playwright.async_api import Browser, BrowserContext, CDPSession, Page

    from tests.live import Live

OPEN_WEBUI_KB = 2211
MESSAGES = 2000
TOKEN_CHARS = 4
ANSWER_CHARS = 200_000
STRETCH_CHARS = 10_000
SERVER_OPENS = 40

SECTION = """## A section of the answer

Models write paragraphs like this one, with **bold words**, `code` and a [link](https://example.com/path) now and then. They go on for a
few lines, and end with a formula such as $e^{i\\pi} + 1 = 0$ or with a remark about what comes next.

- a list with a few points, each of them about a line long
- another point, with *emphasis* in it
- and the last one

```python
def example(values: list[int]) -> int:
    \"\"\"Some code, as it is found in most long answers.\"\"\"
    return sum(value * value for value in values if value % 2)
```

| name | value | remark |
|---|---|---|
| first | 1 | a short one |
| second | 2 | a slightly longer remark |

Prose again, so that a section has about the length that sections of long answers have. It says nothing of interest, at some length.

"""
"""The answer repeats this text, so every 10 KB hold the same kinds of Markdown."""

USABLE = """
const connected = new Promise((done) => addEventListener("htmx:after:ws:connection", () => done(performance.now()), { once: true }));
const drawn = new Promise((done) =>
  new PerformanceObserver((list) => done(list.getEntries()[0].startTime)).observe({ type: "paint", buffered: true }));
Promise.all([connected, drawn]).then((times) => benchUsable(Math.max(...times)));
"""

MAKE_LONG = """
import uuid
from django.utils import timezone
from chat.models import Conversation, Message
from chat.html.answer_html import finished_html
from webapp.accounts.models import User

chat = Conversation.objects.create(user=User.objects.get(username="owner"), title="Long", updated_at=timezone.now())
parts = [{{"kind": "text", "text": {text!r}}}]
parent, rows = None, []
for number in range({messages}):
    row = Message(conversation=chat, parent=parent, role="assistant" if number % 2 else "user", text={text!r} if number % 2 else "Go on")
    if number % 2:
        row.parts, row.html = parts, finished_html(row.id, parts)
    rows.append(row)
    parent = row
Message.objects.bulk_create(rows)
Conversation.objects.filter(id=chat.id).update(leaf=parent)
print(chat.id)
"""


def piece(number: int) -> str:
    """Return token `number` of the long answer."""
    start = number * TOKEN_CHARS % len(SECTION)
    return (SECTION * 2)[start : start + TOKEN_CHARS]


@dataclass
class Load:
    """One load of a page: transferred bytes by kind, and milliseconds from navigation until usable."""

    weight: Counter[str] = field(default_factory=Counter)
    files: int = 0
    usable: float = 0.0

    @property
    def total(self) -> int:
        return sum(self.weight.values())


class Wire:
    """Count the bytes that a page transfers, including headers and frames."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self._kinds: dict[str, str] = {}

    async def watch(self, cdp: CDPSession) -> None:
        cdp.on("Network.responseReceived", self._received)
        cdp.on("Network.loadingFinished", self._finished)
        cdp.on("Network.webSocketFrameReceived", self._frame)
        await cdp.send("Network.enable")

    def _received(self, event: dict[str, Any]) -> None:
        self._kinds[event["requestId"]] = event["type"]

    def _finished(self, event: dict[str, Any]) -> None:
        self.load.files += 1
        self.load.weight[self._kinds.get(event["requestId"], "Other")] += int(event["encodedDataLength"])

    def _frame(self, event: dict[str, Any]) -> None:
        self.load.weight["WebSocket"] += len(event["response"]["payloadData"].encode())


@asynccontextmanager
async def context(browser: Browser, live: Live, cookie: str) -> AsyncGenerator[BrowserContext, None]:
    """Return a signed-in browser context with an empty cache."""
    made = await browser.new_context(base_url=live.url, viewport={"width": 1440, "height": 900})
    pairs = (pair.split("=", 1) for pair in cookie.split("; "))
    await made.add_cookies([{"name": name, "value": value, "url": live.url} for name, value in pairs])
    await made.add_init_script(USABLE)
    yield made
    await made.close()


async def load(page: Page, address: str, *, settle: float = 0.0) -> Load:
    """Open a page, wait until it is usable, and then `settle` seconds for later requests."""
    result, usable = Load(), asyncio.get_running_loop().create_future()
    cdp = await page.context.new_cdp_session(page)
    await Wire(result).watch(cdp)
    await page.expose_function("benchUsable", lambda ms: usable.set_result(ms))  # noqa: PLW0108 - playwright wants a function of its own
    await page.goto(address, wait_until="commit")
    result.usable = await asyncio.wait_for(usable, 20)
    await asyncio.sleep(settle)
    await cdp.detach()
    return result


async def loads(browser: Browser, live: Live, cookie: str, address: str, count: int, *, warm: bool) -> list[Load]:
    """Load a page several times, each with a new browser context; with `warm`, in a context that has visited it before."""
    found = []
    for _ in range(count):
        async with context(browser, live, cookie) as fresh:
            if warm:
                await load(await fresh.new_page(), address, settle=0.2)
            found.append(await load(await fresh.new_page(), address))
    return found


def opened(client: httpx2.Client, address: str) -> float:
    """Return the median time of the server for a page, in ms."""
    times = []
    for _ in range(SERVER_OPENS):
        began = time.perf_counter()
        client.get(address).raise_for_status()
        times.append((time.perf_counter() - began) * 1000)
    return median(times)


def verdict(what: str, value: float, unit: str, aim: float) -> None:
    """Print a figure next to its target."""
    print(f"  {what}: {value:,.1f} {unit} (aim {aim:g}: x{value / aim:.2f}{'' if value <= aim else ' MISSED'})", flush=True)


async def weigh(browser: Browser, live: Live, cookie: str) -> None:
    async with context(browser, live, cookie) as fresh:
        first = await load(await fresh.new_page(), "/chat/", settle=2.5)
    print(f"First load of the chat page: {first.files} files; Open WebUI {OPEN_WEBUI_KB} KB: x{first.total / 1000 / OPEN_WEBUI_KB:.3f}")
    verdict("transferred in all", first.total / 1000, "KB", 120)
    verdict("JavaScript", first.weight["Script"] / 1000, "KB", 60)
    print("  " + ", ".join(f"{kind} {size / 1000:.1f}" for kind, size in first.weight.most_common()))


async def usable(browser: Browser, live: Live, cookie: str, count: int) -> None:
    print(f"Usable: drawn, scripts run, socket open; median of {count}")
    for name, warm in (("first visit", False), ("later visits", True)):
        seen = await loads(browser, live, cookie, "/chat/", count, warm=warm)
        verdict(name, median(one.usable for one in seen), "ms", 300)


async def long_conversation(browser: Browser, live: Live, cookie: str, count: int) -> None:
    address = f"/chat/{live.run_python(MAKE_LONG.format(text=SECTION, messages=MESSAGES)).strip()}/"
    print(f"A conversation of {MESSAGES:,} messages beside an empty one")
    with closing(live.sign_in("owner")) as client:
        empty, full = opened(client, "/chat/"), opened(client, address)
    verdict(f"server: {empty:.1f} and {full:.1f} ms", full / empty, "times", 1.5)
    for name, warm in (("first visit", False), ("later visits", True)):
        short, long = [median(one.usable for one in await loads(browser, live, cookie, to, count, warm=warm)) for to in ("/chat/", address)]
        verdict(f"{name}: {short:.0f} and {long:.0f} ms", long / short, "times", 1.5)


def cpu(pid: int) -> float:
    """Return the seconds of CPU that all threads of a process have used."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


async def metrics(cdp: CDPSession) -> dict[str, float]:
    """Return Chromium's counters of a page, in seconds since it was opened."""
    return {metric["name"]: metric["value"] for metric in (await cdp.send("Performance.getMetrics"))["metrics"]}


async def streamed(browser: Browser, live: Live, cookie: str, rate: int) -> None:
    count = ANSWER_CHARS // TOKEN_CHARS
    async with context(browser, live, cookie) as fresh:
        page = await fresh.new_page()
        await load(page, "/chat/", settle=1.0)
        cdp = await fresh.new_cdp_session(page)
        await cdp.send("Performance.enable")
        await page.get_by_test_id("chat-input").fill(f"{count} {1 / rate}")
        await page.get_by_test_id("chat-send").click()
        await page.get_by_test_id("message-assistant").get_by_test_id("message-text").wait_for()
        seconds, busy = await _follow(live, cdp, count / rate)
        await page.locator('[data-testid=message-assistant][data-status="done"]').wait_for(timeout=60_000)
        await asyncio.sleep(1)
        end = (await metrics(cdp))["TaskDuration"] - busy[-1]["TaskDuration"]
    stretches = [later - earlier for earlier, later in pairwise(seconds)]
    _report_stream(stretches, busy, rate)
    print(f"  browser's work at its end: {1000 * end:.0f} ms")


async def _follow(live: Live, cdp: CDPSession, duration: float) -> tuple[list[float], list[dict[str, float]]]:
    """Record the server's CPU seconds and the browser's counters at each 10 KB."""
    assert live.process
    began, marks = time.monotonic(), ANSWER_CHARS // STRETCH_CHARS
    seconds, busy = [cpu(live.process.pid)], [await metrics(cdp)]
    for mark in range(1, marks + 1):
        await asyncio.sleep(began + duration * mark / marks * 0.998 - time.monotonic())
        seconds.append(cpu(live.process.pid))
        busy.append(await metrics(cdp))
    return seconds, busy


def _report_stream(stretches: Sequence[float], busy: Sequence[dict[str, float]], rate: int) -> None:
    tokens = STRETCH_CHARS // TOKEN_CHARS
    print(f"An answer of {ANSWER_CHARS // 1000} KB at {rate:,} tokens/s")

    def share(name: str, first: int = 0, last: int = -1) -> float:
        return 100 * (busy[last][name] - busy[first][name]) / (busy[last]["Timestamp"] - busy[first]["Timestamp"])

    verdict("browser's main thread busy", share("TaskDuration"), "%", 25)
    verdict("  in the busiest 10 KB", max(share("TaskDuration", mark, mark + 1) for mark in range(len(busy) - 1)), "%", 25)
    parts = ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
    print("    of which " + ", ".join(f"{name.removesuffix('Duration').lower()} {share(name):.1f} %" for name in parts))
    each = [1e6 * stretch / tokens for stretch in stretches]
    print(f"  server CPU a token: first 10 KB {each[0]:.0f} µs, median {median(each):.0f} µs, last 10 KB {each[-1]:.0f} µs")
    verdict("last 10 KB to the first", each[-1] / each[0], "times", 1.3)


async def measure(count: int, rate: int) -> None:
    from playwright.async_api import async_playwright

    async with product(piece) as (live, cookie), async_playwright() as playwright:
        from tests.live import CHROMIUM, CHROMIUM_FLAGS  # after `product` has set Django up

        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        await weigh(browser, live, cookie)
        await usable(browser, live, cookie, count)
        await long_conversation(browser, live, cookie, count)
        await streamed(browser, live, cookie, rate)
        await browser.close()


def main() -> None:
    count, rate = (int(value) for value in [*sys.argv[1:3], *["15", "1000"][len(sys.argv) - 1 :]])
    asyncio.run(measure(count, rate))


if __name__ == "__main__":
    main()
