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

from tests.live import Live
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


async def printed_by(section: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Run the example of a section; return the text below it and the text that it printed."""
    ((code, expected),) = BLOCK.findall(section)
    names: dict[str, Any] = {"__name__": "docs"}
    try:
        await run(SETUP, names)
        await run(code, names)
    finally:
        await names["backend"].aclose()
    return expected, capsys.readouterr().out


@pytest.mark.parametrize("section", SECTIONS[1:], ids=lambda section: section.splitlines()[0])
async def test_an_example_runs_and_prints_the_text_below_it(server: Upstream, section: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected, printed = await printed_by(section, capsys)
    assert expected
    assert printed == expected


def test_the_examples_print_the_same_against_patchbay(
    live: Live, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    token = live.manage("create_token", "--user", "owner").stdout.strip()
    monkeypatch.setenv("OPENAI_BASE_URL", f"{live.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", token)
    monkeypatch.setattr(remote, "SHORTEST", 0.1)
    for section in SECTIONS[1:]:
        expected, printed = asyncio.run(printed_by(section, capsys))
        assert printed == expected, section.splitlines()[0]
