"""Hostile queries, forms, files and headers at every address: refused with a 4xx, never a 500 (FAULTS 23)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client

from tests.security.conftest import Things, addresses, path_of

pytestmark = pytest.mark.usefixtures("no_model")

ADDRESSES = [a for a in addresses() if a.id != "accounts:logout"]
PARAMETERS = (
    *("q", "text", "mode", "collection", "kind", "tag", "since", "more", "format", "page", "after", "before", "number", "state"),
    *("status", "seen", "period", "backend", "model", "route", "source", "user", "passage", "from", "next", "token", "theme", "title"),
    *("preset", "target", "o", "p", "e", "all", "_popup", "command", "do", "answer", "name", "list_filter", "enabled__exact"),
    "words",
)
VALUES = {
    "nul": "a\0b",
    "digits": "9" * 5000,
    "large": "9" * 30,
    "code": "' OR 1=1--\"{{7*7}}{0.__class__}%_%%\\((((",
    "long": "x" * 100_000,
}
FORM_FIELDS = (
    *("title", "text", "model", "system_prompt", "temperature", "top_p", "max_tokens", "json_schema", "tools", "name", "description"),
    *(
        "groups",
        "describe_with",
        "rerank_with",
        "label",
        "scopes",
        "lifetime",
        "requests_per_minute",
        "monthly_budget",
        "username",
        "password",
        "next",
    ),
    *("token", "email", "first_name", "old_password", "theme", "do", "answer", "lines", "template", "system", "endpoint", "webhook_url"),
    *("executor", "concurrency", "file_id", "command", "q", "passage", "passages", "chunk", "collection", "base_url", "headers", "api_key"),
    *("target", "rounds", "action", "_selected_action", "password1", "position", "condition", "cooling", "limit", "period", "user"),
    *("step", "backend", "then", "weight", "first_token_timeout", "context_window", "question", "balance", "hedge_ms", "seen"),
)
NOT_TEXT = (
    b"\xff\xfe\x00",
    b"\x00" * 100,
    b"{",
    b"[" * 20_000,
    b'{"id": [1], "a": 1}\n',
    b'{"id": ' + b"9" * 5000 + b"}\n",
    b"id\n\x00\n",
    b"",
)


@contextmanager
def as_strict_as_postgresql() -> Iterator[None]:
    """PostgreSQL refuses NUL and half surrogate pairs in texts; so does SQLite in this block, in the same way: by an error."""

    def check(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        for row in params if many else [params]:
            for value in row or ():
                if isinstance(value, str):
                    value.encode()
                    assert "\0" not in value, f"NUL in a parameter of {sql[:200]}"
        return execute(sql, params, many, context)

    with connection.execute_wrapper(check):
        yield


def fails(client: Client, method: str, path: str, **options: Any) -> str:
    """Return the fault of a response; empty if there is none."""
    with as_strict_as_postgresql():
        try:
            response = client.generic("POST", path, **options) if method == "generic" else getattr(client, method)(path, **options)
            if response.streaming and not getattr(response, "is_async", False):
                b"".join(response)
        except Exception as error:  # noqa: BLE001 - every one is a 500 for the user
            return f"{method} {path[:60]}: {type(error).__name__}: {str(error)[:300]}"
    return f"{method} {path[:60]}: {response.status_code}" if response.status_code >= 500 else ""


@pytest.fixture
def clients_by_app(as_administrator: Client, as_owner: Client, client: Client) -> dict[str, Client]:
    """Return the user who sends the request: the administrator for the admin, else the owner."""
    return {"admin": as_administrator, "": as_owner, "anonymous": client}


def clients(clients_by_app: dict[str, Client], app: str) -> Client:
    return clients_by_app["admin"] if app in {"admin", "backends"} else clients_by_app[""]


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_no_query_breaks_a_page(things: Things, clients_by_app: dict[str, Client], value: str) -> None:
    query = dict.fromkeys(PARAMETERS, value)
    asked = [address for address in ADDRESSES if address.app != "admin" or value == VALUES["digits"]]
    found = [fails(clients(clients_by_app, one.app), "get", path_of(one, things), query_params=query) for one in asked]
    assert not any(found), "\n".join(filter(None, found))


@pytest.mark.parametrize("after", ["²", "٣", "-1", "9" * 30, "9" * 5000, "1e3"])
def test_rows_go_on_after_a_number_only(things: Things, as_owner: Client, after: str) -> None:
    path = f"/batches/{things['/batches/']['batch_id']}/rows/"
    assert fails(as_owner, "get", path, query_params={"after": after}) == ""


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_no_form_breaks_a_page(things: Things, clients_by_app: dict[str, Client], value: str) -> None:
    found = []
    for address in ADDRESSES:
        if "delete" in address.name or address.name in {"revoke", "change-index", "change-document", "look"}:
            continue
        if address.app == "admin" and value != VALUES["nul"]:
            continue
        found.append(fails(clients(clients_by_app, address.app), "post", path_of(address, things), data=dict.fromkeys(FORM_FIELDS, value)))
    assert not any(found), "\n".join(filter(None, found))


SCHEMAS = ('{"a": NaN}', '{"a": 1e999}', '{"a": "\\u0000"}', '{"a": "\\ud800"}', '{"a": ' * 400 + "1" + "}" * 400, "[" * 50_000, "9" * 5000)


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_a_schema_that_no_database_can_hold_is_refused_with_the_form(things: Things, as_owner: Client, schema: str) -> None:
    path = f"/chat/{things['/chat/']['conversation_id']}/settings/"
    assert fails(as_owner, "post", path, data={"json_schema": schema}) == ""
    assert fails(as_owner, "get", path) == ""
    assert b"errorlist" in as_owner.post(path, {"json_schema": schema}).content


def test_no_file_breaks_a_page(things: Things, as_owner: Client) -> None:
    """FAULTS 19, 23."""
    found = []
    names = ("../../x.csv", "a\0b.jsonl", "x" * 300 + ".csv", "%00", "con", "\u202ecod.exe", ".jsonl", "<img src=x onerror=alert(1)>.txt")
    for path, field in UPLOADS:
        for number, content in enumerate(NOT_TEXT):
            file = SimpleUploadedFile(names[number % len(names)] or "x", content, content_type="text/html")
            form = {field: file, "template": "{{ id }}{{ a }}", "model": "b/m", "endpoint": "/v1/chat/completions"}
            found.append(fails(as_owner, "post", path.format(**things["/search/collections/"]), data=form))
    assert not any(found), "\n".join(filter(None, found))


UPLOADS = (
    ("/batches/new/", "file"),
    ("/batches/new/?source=table", "file"),
    ("/batches/new/check/", "file"),
    ("/batches/new/preview/", "file"),
    ("/chat/files/", "file"),
    ("/search/collections/{pk}/upload/", "files"),
)
HEADERS: tuple[tuple[str, bytes], ...] = (
    ("multipart/form-data", b"x"),
    ("multipart/form-data; boundary=", b"x"),
    ("multipart/form-data; boundary=" + "b" * 300, b"x"),
    ("multipart/form-data; boundary=b; charset=hex", b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nx\r\n--b--\r\n'),
    ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="text'),
    ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename*=hex''x\r\n\r\nx\r\n--b--\r\n"),
    (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: form-data; name="q"\r\n\r\nx\r\n--b--',
    ),
    ("application/x-www-form-urlencoded; charset=utf-16", b"text=x"),
    ("application/x-www-form-urlencoded", b"text=%ff&" * 2000),
    ("application/x-www-form-urlencoded", b"&".join(b"text=%ED%A0%80" for _ in range(10))),
    ("application/json", b'{"text": '),
    ("text/plain; charset=\xff", b"\x00"),
)


@pytest.mark.parametrize("number", range(len(HEADERS)))
def test_no_body_breaks_a_page(things: Things, as_owner: Client, number: int) -> None:
    """Malformed forms at everything that takes one."""
    content_type, body = HEADERS[number]
    paths = [
        "/chat/files/",
        "/batches/new/",
        "/batches/new/preview/",
        "/search/ask/",
        "/accounts/profile/",
        "/accounts/login/",
        "/csp-report/",
    ]
    paths += [f"/chat/{things['/chat/']['conversation_id']}/{action}/" for action in ("send", "rename", "settings", "meter")]
    found = [fails(as_owner, "generic", path, data=body, content_type=content_type) for path in paths]
    assert not any(found), "\n".join(filter(None, found))


@pytest.mark.parametrize("url", ["http://[x", "http://[::1", "http://x:99999999/", "http://\0/", "javascript:alert(1)", "http://", "//x"])
def test_a_webhook_that_is_no_address_is_refused_with_the_form(as_owner: Client, url: str) -> None:
    line = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}'
    form = {"file": SimpleUploadedFile("a.jsonl", line), "webhook_url": url}
    assert as_owner.post("/batches/new/", form).status_code == 400


def test_where_to_go_on_is_a_path_of_this_site_and_nothing_else(client: Client, users: Any) -> None:
    for target in (
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "chat:new",
        "((",
        "http:///evil.example",
    ):
        response = client.post("/accounts/theme/", {"next": target})
        assert (response.status_code, response["Location"]) in {(302, "/"), (302, target)}, target
        assert target in {"chat:new", "(("} or response["Location"] == "/"
    assert client.post("/accounts/theme/", {"next": "/search/"})["Location"] == "/search/"
