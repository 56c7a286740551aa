"""docs/patterns.md: every example runs as it stands, and prints what stands below it."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.upstream import Received, Upstream, Wire
from webapp.builtin.asgi import BuiltinBackend
from webapp.patterns.batch import remote

PAGE = Path(__file__).parents[2] / "docs" / "patterns.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
SECTIONS = PAGE.read_text().split("\n## ")
SETUP = BLOCK.findall(SECTIONS[0])[0][0]


async def builtin(received: Received, wire: Wire) -> None:
    """A reply of the scriptable server: what the built-in backend answers."""

    messages: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": received.raw, "more_body": False})

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            await wire.start(message["status"], dict(message["headers"])[b"content-type"].decode())
        elif message.get("more_body"):
            await wire.send(message["body"])
        else:
            await wire.end(message["body"])

    await BuiltinBackend(pace=0)({"type": "http", "path": received.path, "method": received.method}, messages.get, send)


@pytest.fixture
def server(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """The built-in models, with a Batch API beside them, over real HTTP."""
    upstream.default = upstream.embeds = builtin
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setattr(remote, "SHORTEST", 0.0)
    return upstream


async def run(code: str, names: dict[str, Any]) -> None:
    """Run code that awaits at its top level, as `python -m asyncio` does."""
    compiled = compile(code, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(compiled, names)
    if inspect.isawaitable(result):
        await result


def test_there_are_ten_patterns_with_an_example_each() -> None:
    assert [section.partition(".")[0] for section in SECTIONS[1:]] == [str(number) for number in range(1, 11)]
    assert all(len(BLOCK.findall(section)) == 1 for section in SECTIONS)


@pytest.mark.parametrize("section", SECTIONS[1:], ids=lambda section: section.splitlines()[0])
async def test_an_example_runs_and_prints_what_the_page_says(server: Upstream, section: str, capsys: pytest.CaptureFixture[str]) -> None:
    ((code, printed),) = BLOCK.findall(section)
    names: dict[str, Any] = {"__name__": "docs"}
    try:
        await run(SETUP, names)
        await run(code, names)
        assert printed
        assert capsys.readouterr().out == printed
    finally:
        await names["backend"].aclose()
