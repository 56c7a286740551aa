"""A running server and the commands beside it: two processes over one configuration."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import httpx2

from tests.live import Live
from tests.upstream import Upstream, closed_port, says, status

HELLO = [{"role": "user", "content": "Hello"}]


def test_what_a_command_changes_is_served_within_five_seconds(
    new_live: Callable[..., Live], make_upstream: Callable[..., Upstream]
) -> None:
    """The issue's own trial: refused first, failing second, a real server third; the answer comes from the third."""
    live = new_live()
    failing, good = make_upstream(), make_upstream()
    failing.default, good.default = status(500), says("Hello from the third.")
    token = live.manage("create_token", "--user", "owner").stdout.strip()
    with httpx2.Client(base_url=f"{live.url}/v1", headers={"Authorization": f"Bearer {token}"}, timeout=20) as client:
        assert client.post("/chat/completions", json={"model": "default", "messages": HELLO}).status_code == 200
        addresses = {"refused": f"http://127.0.0.1:{closed_port()}/v1", "failing": failing.base_url, "good": good.base_url}
        for name, url in addresses.items():
            added = live.manage("add_backend", "--name", name, "--base-url", url, "--api-key", "sk-test-abcdefghijklmnop")
            assert added.returncode == 0, added.stderr
            assert added.stdout.strip().isdigit()
        steps = [word for name in addresses for word in ("--step", f"{name}/m")]
        assert live.manage("add_route", "--name", "default", *steps).returncode == 0
        deadline = time.monotonic() + 5
        answer = client.post("/chat/completions", json={"model": "default", "messages": HELLO})
        while "third" not in answer.text:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.2)
            answer = client.post("/chat/completions", json={"model": "default", "messages": HELLO})
    assert (answer.headers["x-patchbay-backend"], answer.headers["x-patchbay-attempts"]) == ("good", "3")
    with contextlib.closing(live.sign_in("administrator")) as session:
        log = _until(session, "/admin/backends/attempt/", "ServerFailed")
        page = _until(session, "/backends/", 'data-health="down"')
    assert "Hello" not in log
    assert 'data-health="up"' in page
    assert "abcdefghijklmnop" not in page + log + live.output()


def _until(session: httpx2.Client, path: str, text: str) -> str:
    """The page, once it holds the text: attempts and health are written behind."""
    deadline = time.monotonic() + 10
    while text not in (page := session.get(path).text):
        assert time.monotonic() < deadline, f"{text} is not on {path}"
        time.sleep(0.2)
    return page
