"""The patterns are a library: their public names, their types, and no Django."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import webapp.patterns
from tests.upstream import Upstream
from webapp.patterns import OpenAIBackend, Request

LOADS_WITHOUT_DJANGO = """
import sys
sys.modules["django"] = None  # an import of Django fails
import webapp.patterns
for name in webapp.patterns.__all__:
    getattr(webapp.patterns, name)
assert "channels" not in sys.modules
"""


def test_the_public_names_are_listed_and_sorted() -> None:
    assert webapp.patterns.__all__ == sorted(webapp.patterns.__all__)
    assert {name for name in dir(webapp.patterns) if name in webapp.patterns.__all__} == set(webapp.patterns.__all__)


def test_every_public_name_is_documented() -> None:
    undocumented = [name for name in webapp.patterns.__all__ if not inspect.getdoc(getattr(webapp.patterns, name))]
    assert undocumented == []


def test_every_public_name_loads_without_django() -> None:
    subprocess.run([sys.executable, "-c", LOADS_WITHOUT_DJANGO], check=True, timeout=60)


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(webapp.patterns.__file__).parent / "py.typed").exists()


async def test_a_backend_closes_when_its_block_ends(upstream: Upstream) -> None:
    async with OpenAIBackend("local", upstream.base_url) as backend:
        answer = await backend.send(Request.chat([{"role": "user", "content": "Hello"}], model="m"))
        assert answer.text
    assert backend._http is None or backend._http.is_closed
