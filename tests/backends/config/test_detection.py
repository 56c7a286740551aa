"""Looking for servers, over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.upstream import Upstream, endless
from webapp.backends.config import detection


@contextmanager
def serving(status: int, body: bytes) -> Iterator[str]:
    """A server on a free port that gives this answer to every GET."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_server_that_lists_models_is_found_with_them() -> None:
    body = json.dumps({"object": "list", "data": [{"id": "llama3.1:8b"}, {"id": 7}, "junk"]}).encode()
    with serving(200, body) as url:
        found = await detection.find([("ollama", url)])
    assert [(one.name, one.base_url, one.models) for one in found] == [("ollama", url, ("llama3.1:8b",))]


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>hello</html>"), (200, b'{"ok": true}'), (200, b"[]"), (401, b'{"data": []}'), (404, b"{}"), (200, b"[" * 100_000)],
)
async def test_what_does_not_answer_like_one_is_none(status: int, body: bytes) -> None:
    with serving(status, body) as url:
        assert await detection.find([("vllm", url)]) == []


async def test_a_program_that_never_ends_its_answer_is_none(
    make_upstream: Callable[..., Upstream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "TIMEOUT_SECONDS", 0.2)
    upstream = make_upstream()
    upstream.script(endless(pace=0.01), path="/v1/models")
    assert await detection.find([("llamacpp", upstream.base_url)]) == []


async def test_a_closed_port_is_none() -> None:
    assert await detection.find([("vllm", "http://127.0.0.1:9/v1")]) == []
