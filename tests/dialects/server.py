"""Serve the dialects of real servers, for tests.

`Server(port, folder)` makes each NAME.json of the folder an upstream at http://127.0.0.1:PORT/NAME/v1 with one model, `m`. Port 0 takes a
free one.

A file's `answers` are tried in order; the first whose `when` fits the request is given. `when` is {"field": NAME} (the body has the field),
{"at_least": {NAME: NUMBER}} or {"text": TEXT} (the body contains the text); an answer without `when` fits every request. An answer has
`status`, `headers` and a `body` (JSON, or a text that goes out as it is), or `events` for streams: each goes out as a `data:` line; a text
goes out byte for byte (Latin-1), with `pause_s` after each. A request for a whole answer where only `events` fit gets `OK`. `models`
replaces the list of models. `requests` holds the bodies received so far, by name.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODELS = {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "test"}]}
MESSAGE = {"index": 0, "message": {"role": "assistant", "content": "OK"}, "finish_reason": "stop"}
WHOLE = {"body": {"id": "c0", "object": "chat.completion", "created": 1, "model": "m", "choices": [MESSAGE]}}


def fits(when: dict[str, Any] | None, body: dict[str, Any], raw: str) -> bool:
    """Return whether an answer is meant for this request."""
    if when is None:
        return True
    if "at_least" in when:
        return all((body.get(name) or 0) >= least for name, least in when["at_least"].items())
    return when["field"] in body if "field" in when else when["text"] in raw


def encoded(value: Any) -> bytes:
    """Return a text as its bytes, anything else as JSON."""
    return value.encode("latin-1") if isinstance(value, str) else json.dumps(value).encode()


class Server(ThreadingHTTPServer):
    """The dialects of some folders, and the requests that came in."""

    daemon_threads = True

    def __init__(self, port: int, *folders: Path) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.cases = {file.stem: json.loads(file.read_text("utf-8")) for folder in folders for file in folder.glob("*.json")}
        self.requests: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        name = self.path.split("/")[1]
        if self.path.endswith("/models") and name in self.server.cases:
            self.reply(200, self.server.cases[name].get("models", MODELS))
        else:
            self.reply(404, {"error": {"message": f"nothing at {self.path}"}})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("utf-8", "replace")
        name = self.path.split("/")[1]
        if name not in self.server.cases or not self.path.endswith(("/completions", "/embeddings")):
            return self.reply(404, {"error": {"message": f"nothing at {self.path}"}})
        body = json.loads(raw)
        self.server.requests[name].append(body)
        fitting = [one for one in self.server.cases[name]["answers"] if fits(one.get("when"), body, raw)]
        answer: dict[str, Any] = next((one for one in fitting if body.get("stream") or "body" in one), WHOLE)
        if "events" in answer and body.get("stream"):
            return self.stream(answer["events"], answer.get("pause_s", 0))
        return self.reply(answer.get("status", 200), answer["body"], answer.get("headers", {}))

    def stream(self, events: list[Any], pause: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        with suppress(ConnectionError):  # the client may have had enough
            for event in events:
                self.wfile.write(b"data: " + encoded(event) + b"\n\n")
                self.wfile.flush()
                time.sleep(pause)

    def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = encoded(body)
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args: Any) -> None:
        """Print nothing: a client may ask thousands of times."""
