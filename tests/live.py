"""The product as users meet it: a real `manage.py up` process with a state folder of its own, and a real browser.

Fixtures (registered in tests/conftest.py): `live`, one server for the session with the usual users signed up; `new_live`, a factory of
servers that a test may kill and start again; `browser_page`, a function that opens a page, signed in as one of the usual users.
What takes seconds is done once: state folders are prepared for all test processes, a server's shell stays open, and so does a browser.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.users import PASSWORD

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120  # of a machine that has other things to do
PATIENCE = 30_000
"""Milliseconds in which a page must come to what a test expects of it; 5 s, the default, are short where everybody tests at once."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDS_CHROMIUM = "chromium is not installed: apt-get install chromium"
CHROMIUM_FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    "--disable-features=WebUIOmniboxPopup",  # a page for the address bar, drawn beside each page though nobody sees it
]
PREPARE = "from webapp.server.startup import everything; everything()"
MANAGE = "import manage; manage.main()"
MAKE_CAST = "from tests.users import make_users; make_users()"
# One line of JSON in for each piece of Python to run, one out with what it printed and how it failed.
SHELL = """
import contextlib, io, json, sys, traceback
from django.db import connections
for line in sys.stdin:
    printed, failure = io.StringIO(), ""
    try:
        with contextlib.redirect_stdout(printed):
            exec(json.loads(line), {})
    except Exception:
        failure = traceback.format_exc()
    connections.close_all()
    print(json.dumps([printed.getvalue(), failure]), flush=True)
"""


def free_port() -> int:
    """A loopback port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Live:
    """A server process. `start`, `stop` (SIGTERM) and `kill` (SIGKILL) may be called again and again; the state folder stays.

    `first` is Python that the process runs before it is a server.
    """

    home: Path
    port: int = field(default_factory=free_port)
    server: str = "daphne"
    environment: dict[str, str] = field(default_factory=dict)
    first: str = ""
    workers: int = 1
    process: subprocess.Popen[bytes] | None = None
    log: IO[bytes] | None = None
    _shell: subprocess.Popen[str] | None = field(default=None, init=False)
    _sessions: dict[str, httpx2.Cookies] = field(default_factory=dict, init=False)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        foreign = ("PATCHBAY_", "DJANGO_", "OPENAI_", "PYTHONDONTWRITEBYTECODE")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        own = {
            "PATCHBAY_HOME": str(self.home),
            "PATCHBAY_DETECT": "0",
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "webapp.settings",
        }
        return {**clean, **own, **self.environment}

    def manage(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a management command against the same state."""
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, cwd=ROOT, env=self.env, input=text, capture_output=True, text=True, timeout=120, check=False)

    def run_python(self, code: str) -> str:
        """Run Python in the product's shell, a process of its own, against the same state; returns what it printed."""
        shell = self._shell = self._shell or self._open_shell()
        assert shell.stdin
        assert shell.stdout
        print(json.dumps(code), file=shell.stdin, flush=True)
        printed, failure = json.loads(shell.stdout.readline())
        assert not failure, failure
        return str(printed)

    def _open_shell(self) -> subprocess.Popen[str]:
        command = [sys.executable, "manage.py", "shell", "--no-imports", "-v0", "-c", SHELL]
        shell = subprocess.Popen(command, cwd=ROOT, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        weakref.finalize(self, shell.__exit__, None, None, None)  # the end of its input is its own
        return shell

    def start(self) -> Live:
        """Start the server and wait until it answers."""
        self.log = self._log_file.open("ab")
        program = ["-c", f"{self.first}\n{MANAGE}"] if self.first else ["manage.py"]
        command = [sys.executable, *program, "up", "--port", str(self.port), "--server", self.server, "--workers", str(self.workers)]
        self.process = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{self.output()}")
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/healthz", timeout=2):
            return True
        return False

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL: what a crash or a lost machine leaves."""
        return self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(how)
        status = self.process.wait(timeout=15)
        self.process = None
        if self.log:
            self.log.close()
        return status

    def output(self) -> str:
        """Return the server's output so far."""
        return self._log_file.read_text(errors="replace")

    @property
    def _log_file(self) -> Path:
        return self.home / f"server-{self.port}.log"

    def memory_mb(self) -> float:
        """Resident memory of the server process in MB."""
        assert self.process
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def sign_in(self, username: str) -> httpx2.Client:
        """An HTTP client with the session of one of the usual users: reused while it is valid, because passwords are slow to check."""
        client = httpx2.Client(base_url=self.url, timeout=30, cookies=self._sessions.get(username))
        if username not in self._sessions or client.get("/accounts/profile/").status_code != 200:
            client.cookies.clear()
            self._sign_in(client, username)
            self._sessions[username] = httpx2.Cookies(client.cookies)
        client.headers["X-CSRFToken"] = client.cookies["csrftoken"]
        return client

    def _sign_in(self, client: httpx2.Client, username: str) -> None:
        client.get("/accounts/login/")
        form = {"username": username, "password": PASSWORD, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        response = client.post("/accounts/login/", data=form, headers={"Referer": self.url})
        assert response.status_code == 302, response.text


def made_once(name: str, tmp_path_factory: pytest.TempPathFactory, make: Callable[[Path], None]) -> Path:
    """A folder that all processes of this test run share: the first who wants it makes it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = folder.with_suffix(".new")
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def prepared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder as `up` leaves it before anybody signed up: copied, since compressing static files takes seconds."""

    def prepare(home: Path) -> None:
        Live(home).run_python(PREPARE)

    return made_once("prepared", tmp_path_factory, prepare)


@pytest.fixture(scope="session")
def populated_home(prepared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the usual users signed up."""

    def populate(home: Path) -> None:
        shutil.copytree(prepared_home, home, dirs_exist_ok=True)
        Live(home).run_python(MAKE_CAST)

    return made_once("populated", tmp_path_factory, populate)


def copied(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a state folder."""
    return Path(shutil.copytree(home, tmp_path_factory.mktemp("home"), dirs_exist_ok=True))


@pytest.fixture
def new_live(populated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Live]]:
    """A factory: `new_live(PATCHBAY_…="…")` starts a fresh server with the usual users in it; all are stopped afterwards."""
    started: list[Live] = []

    def make(*, server: str = "daphne", first: str = "", workers: int = 1, **environment: str) -> Live:
        home = copied(populated_home, tmp_path_factory)
        live = Live(home, server=server, environment=environment, first=first, workers=workers).start()
        started.append(live)
        return live

    yield make
    for live in started:
        live.stop()


@pytest.fixture(scope="session")
def live(populated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server for all tests of this process that do not break it."""
    server = Live(copied(populated_home, tmp_path_factory)).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running headless Chromium; the address of its debugger."""
    if not CHROMIUM:
        pytest.skip(NEEDS_CHROMIUM)
    port = free_port()
    profile = tmp_path_factory.mktemp("chromium")
    command = [CHROMIUM, *CHROMIUM_FLAGS, f"--user-data-dir={profile}", f"--remote-debugging-port={port}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    _wait_for(f"{address}/json/version")
    yield address
    process.terminate()
    process.wait(timeout=10)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing answers at {url}")


OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """The browser, for the tests of one file. Until its end Playwright's event loop is the thread's: no async tests and no ORM in there."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        yield playwright.chromium.connect_over_cdp(chromium)


@pytest.fixture
def browser_page(browser: Browser) -> Iterator[OpenPage]:
    """A function: `browser_page(live, "owner", width=390, dark=True)` opens a page in a context of its own, signed in (or not: user None).

    Console errors, page errors and CSP reports fail the test at its end, unless `page.complaints` is cleared.
    """
    pages: list[Page] = []
    complaints: list[str] = []

    def open_page(server: Live, user: str | None = "owner", *, width: int = 1440, height: int = 900, dark: bool = False) -> Page:
        page = _new_page(browser, server, user, width=width, height=height, dark=dark)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.complaints = complaints  # type: ignore[attr-defined]  # for tests that expect some
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.context.close()
    assert complaints == []


def _new_page(browser: Browser, server: Live, user: str | None, *, width: int, height: int, dark: bool) -> Page:
    context = browser.new_context(
        base_url=server.url,
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        is_mobile=width < 600,
        has_touch=width < 600,
        accept_downloads=True,
    )
    if user:
        client = server.sign_in(user)
        context.add_cookies([{"name": name, "value": client.cookies[name], "url": server.url} for name in ("sessionid", "csrftoken")])
        client.close()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    return page


def accessibility_violations(page: Page) -> list[str]:
    """Return axe-core's findings on the page, one a line (WCAG 2.2 A and AA, the order of headings, and names that match their labels)."""
    from axe_core_python.sync_playwright import Axe

    tags = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
    rules = {"runOnly": {"type": "rule", "values": ["heading-order", "label-content-name-mismatch"]}}
    found = [violation for options in (tags, rules) for violation in Axe().run(page, options=options)["violations"]]
    return [f"{item['id']}: {item['help']} ({'; '.join(node['html'][:120] for node in item['nodes'][:3])})" for item in found]
