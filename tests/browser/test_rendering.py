"""Rendered answers in a real browser: formulas, diagrams, previews, code blocks and citations."""

from __future__ import annotations

import re

from playwright.sync_api import Page, Request, expect

from tests.browser.test_chat import Answering, answer, ask, route, routed
from tests.live import Live, OpenPage
from tests.upstream import says

__all__ = ["route", "routed"]  # fixtures
HTML = '<h1>Title</h1><script>parent.document.title = "taken"</script><img src="https://evil.example/x.png"><p onclick="alert(1)">Text</p>'
MARKDOWN = f"""$$
\\begin{{aligned}}
a &= b \\\\
- c &= d
\\end{{aligned}}
$$

```mermaid
flowchart LR
  A[Browser] --> B[Server]
```

```html
{HTML}
```

See [leave.docx](/search/documents/0b9f2f3e-8f4c-4a55-9d5e-1f2f3e8f4c4a/?passage=120#passage).
"""


def foreign(page: Page, live: Live) -> list[str]:
    """Return a list that grows with each request to another server."""
    found: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith((live.url, "data:", "blob:")):
            found.append(request.url)

    page.on("request", note)
    return found


def test_an_answer_with_a_formula_a_diagram_a_page_and_a_citation(live: Live, route: Answering, browser_page: OpenPage) -> None:
    route.default = says(MARKDOWN)
    page = browser_page(live)
    requests = foreign(page, live)
    page.goto("/chat/")
    ask(page, "Show me")
    answer(page)
    text = page.get_by_test_id("message-text").last
    assert text.locator("mtable > mtr").count() == 2
    assert "&" not in (text.locator("math").text_content() or "")
    _diagram(page)
    _preview(page)
    link = text.get_by_role("link", name="leave.docx")
    assert re.search(r"/search/documents/[0-9a-f-]+/\?passage=120#passage$", link.get_attribute("href") or "")
    assert requests == []
    assert page.title() != "taken"
    complaints: list[str] = page.complaints  # type: ignore[attr-defined] # set by the fixture
    assert [text for text in complaints if "Content Security Policy" not in text] == []
    complaints.clear()  # the frame's policy refused the handler in the page's source


def _diagram(page: Page) -> None:
    block = page.locator('.code[data-preview="mermaid"]')
    frame = block.locator("iframe")
    assert frame.get_attribute("sandbox") == "allow-scripts"
    expect(frame.content_frame.locator("svg")).to_contain_text("Server")
    expect(block.locator("pre")).to_be_hidden()
    block.get_by_role("button", name="Source").click()
    expect(block.locator("pre")).to_contain_text("A[Browser] --> B[Server]")
    expect(frame).to_be_hidden()


def _preview(page: Page) -> None:
    block = page.locator('.code[data-preview="html"]')
    expect(block.locator("pre")).to_contain_text("<script>")
    assert block.locator("iframe").count() == 0
    block.get_by_role("button", name="Preview").click()
    inside = block.locator("iframe").content_frame
    expect(inside.get_by_role("heading", name="Title")).to_be_visible()
    assert inside.locator("body script").count() == 0


def test_code_wraps_and_is_downloaded(live: Live, route: Answering, browser_page: OpenPage) -> None:
    route.default = says("```python\nx = 1\n```")
    page = browser_page(live)
    page.goto("/chat/")
    ask(page, "Code")
    answer(page)
    wrap = page.get_by_role("button", name="Wrap").last
    wrap.click()
    expect(wrap).to_have_attribute("aria-pressed", "true")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").last.click()
    assert download.value.suggested_filename == "code.py"
    assert download.value.path().read_text() == "x = 1\n"


def test_a_question_is_markdown_and_copied_as_it_was_written(live: Live, route: Answering, browser_page: OpenPage) -> None:
    route.default = says("Yes.")
    page = browser_page(live)
    page.goto("/chat/")
    ask(page, "Is **this** <b>bold</b>?")
    answer(page)
    question = page.get_by_test_id("message-user").last.get_by_test_id("message-text")
    expect(question.locator("strong")).to_have_text("this")
    expect(question).to_contain_text("<b>bold</b>")
