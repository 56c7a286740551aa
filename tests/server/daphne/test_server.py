"""The holes of Daphne are closed: bodies are capped before they are buffered, clients that do not read do not fill memory."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import httpx2
import pytest

from tests.live import Live

MEGABYTE = 1024 * 1024


def zeros(megabytes: int) -> Iterator[bytes]:
    for _ in range(megabytes):
        yield bytes(MEGABYTE)


def test_a_declared_huge_body_is_refused_at_once(live: Live) -> None:
    """FAULTS 20: with a Content-Length."""
    with socket.create_connection(("localhost", live.port)) as client:
        client.sendall(b"POST /accounts/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000000\r\n\r\n")
        client.settimeout(5)
        assert client.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("path", ["/accounts/login/", "/nowhere/"])
def test_a_chunked_huge_body_is_cut_off(live: Live, path: str) -> None:
    """FAULTS 20: an anonymous 500 MB POST without a length; memory grows by less than 50 MB."""
    before = live.memory_mb()
    try:
        response = httpx2.post(live.url + path, content=zeros(500), timeout=30)
        assert response.status_code == 413
    except httpx2.WriteError:
        pass  # the server hung up on us before we were done: as good
    assert live.memory_mb() - before < 50


def test_the_answer_to_a_body_not_read_reaches_the_client(live: Live) -> None:
    """The server answers early and lets the client finish sending, so that it sees the answer rather than a reset."""
    response = httpx2.post(f"{live.url}/accounts/login/", content=zeros(30), timeout=30)
    assert response.status_code == 413
    assert json.loads(response.text)["error"]["code"] == "request_too_large"


def test_requests_follow_each_other_on_one_connection(live: Live) -> None:
    with httpx2.Client(base_url=live.url) as client:
        answers = [client.post("/csp-report/", content=b"{}").status_code for _ in range(5)]
        assert answers == [204] * 5


def test_a_broken_header_gets_a_plain_400(live: Live) -> None:
    assert ask(live, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nbad name: x")[0] == 400


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/models HTTP/1.1\r\nX: y",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b",
        b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost",
        b"GET v1/models HTTP/1.1\r\nHost: localhost",
    ],
)
def test_a_request_that_is_none_gets_a_400_that_says_why(live: Live, head: bytes) -> None:
    """FAULTS 23."""
    status, body = ask(live, head)
    assert status == 400
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("target", [b"/healthz", b"http://localhost/healthz", b"HTTPS://other.example:1/healthz?a=b"])
def test_a_target_may_come_in_the_form_that_proxies_get(live: Live, target: bytes) -> None:
    assert ask(live, b"GET %b HTTP/1.1\r\nHost: localhost" % target)[0] == 200
    assert ask(live, b"GET http://localhost HTTP/1.1\r\nHost: localhost")[0] == 302


def ask(live: Live, head: bytes) -> tuple[int, bytes]:
    """The status and the body that a raw request gets."""
    with socket.create_connection(("localhost", live.port), timeout=5) as client:
        client.sendall(head + b"\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    start, _, body = answer.partition(b"\r\n\r\n")
    return int(start.split()[1]), body
