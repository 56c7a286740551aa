"""The answer above the results, by a language model over real HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import AsyncClient, Client

from search.answers.citation_links import link_citations, without_begun_citation
from search.answers.preferences import set_answer_preference
from search.models import AnswerPreference, Chunk
from tests.search.conftest import CATS, Ingest
from tests.upstream import Upstream, closed_port, error, says
from tests.users import Users
from webapp.backends.models import Attempt, Backend, BackendModel
from webapp.backends.runtime import registry
from webapp.backends.services.configuration import add_backend, set_route
from webapp.patterns.errors import InputError


def add_model(name: str, base_url: str) -> Backend:
    backend = add_backend(name=name, base_url=base_url)
    Backend.objects.filter(pk=backend.pk).update(enabled=True)
    BackendModel.objects.create(backend=backend, name="llm", capabilities={"chat": True, "embeddings": False})
    return backend


@pytest.fixture
def upstream(users: Users, make_upstream: Callable[..., Upstream]) -> Upstream:
    """A server with the chat model `llm`, as the backend `up`, which writes the owner's answers."""
    server = make_upstream()
    add_model("up", server.base_url)
    set_answer_preference(user=users.owner, enabled=True, model="up/llm")
    return server


def ask(user: Any, **form: Any) -> tuple[int, list[dict[str, Any]]]:
    """Post the form as a user; return the status and the frames."""

    async def run() -> tuple[int, list[dict[str, Any]]]:
        client = AsyncClient()
        await client.aforce_login(user, backend="django.contrib.auth.backends.ModelBackend")
        try:
            response: Any = await client.post("/search/answer/", form)
            body = b"".join([part async for part in response.streaming_content]) if response.streaming else b""
            return response.status_code, [json.loads(line) for line in body.splitlines()]
        finally:
            await registry.flush()
            await registry.aclose()

    return asyncio.run(run())


def drawn(frames: list[dict[str, Any]]) -> str:
    """Return the blocks as the page shows them at the end."""
    blocks: dict[int, str] = {}
    for frame in frames:
        if "restart" in frame:
            blocks.clear()
        blocks.update(dict(frame.get("blocks", [])))
    return "".join(html for _, html in sorted(blocks.items()))


def passages() -> list[str]:
    return [str(pk) for pk in Chunk.objects.order_by("pk").values_list("pk", flat=True)]


def test_an_answer_cites_the_passages_of_the_page(users: Users, ingest: Ingest, upstream: Upstream) -> None:
    ingest("cats.md", CATS)
    upstream.script(says("They play with **wool** [1]. Ghosts say so [7].\n\n<img src=x onerror=alert(1)>"))
    status, frames = ask(users.owner, q="What do kittens play with?", passage=passages())
    html = drawn(frames)
    assert status == 200
    assert "<strong>wool</strong>" in html
    assert 'href="#result-1"' in html
    assert "result-7" not in html
    assert "[7]" not in html
    assert "<img" not in html
    sent = upstream.requests[-1].body["messages"]
    assert "[1] cats.md › Cats\n" in sent[1]["content"]
    assert sent[1]["content"].endswith("Question: What do kittens play with?")
    assert "up · llm" in frames[-1]["end"]
    attempt = Attempt.objects.get(model="llm")
    assert (attempt.user, attempt.source) == (users.owner, "search")


def test_a_failed_backend_is_replaced_and_a_failed_route_says_why(users: Users, ingest: Ingest, upstream: Upstream) -> None:
    ingest("cats.md", CATS)
    upstream.script(error("the disk of the model is on fire", code=500))
    status, frames = ask(users.owner, q="wool?", passage=passages())
    assert status == 200
    assert list(frames[-1]) == ["error"]
    assert "on fire" in frames[-1]["error"]
    dead = add_model("dead", f"http://127.0.0.1:{closed_port()}/v1")
    set_route(name="writers", steps=[(dead, "llm"), (Backend.objects.get(name="up"), "llm")])
    set_answer_preference(user=users.owner, enabled=True, model="writers")
    upstream.script(says("Wool [1]."))
    frames = ask(users.owner, q="wool?", passage=passages())[1]
    assert "Wool" in drawn(frames)
    assert "1 failed first" in frames[-1]["end"]


def test_an_empty_answer_is_an_error(users: Users, ingest: Ingest, upstream: Upstream) -> None:
    ingest("cats.md", CATS)
    upstream.script(says(" "))
    assert "error" in ask(users.owner, q="wool?", passage=passages())[1][-1]


def test_only_passages_that_the_user_may_read_are_answered_from(users: Users, ingest: Ingest, upstream: Upstream) -> None:
    ingest("cats.md", CATS)
    set_answer_preference(user=users.other, enabled=True, model="up/llm")
    assert ask(users.other, q="wool?", passage=passages())[0] == 400
    assert ask(users.owner, q="wool?", passage=["x", "-1"])[0] == 400
    assert ask(users.owner, q=" ", passage=passages())[0] == 400
    assert upstream.requests == []


def test_answers_are_off_until_the_user_turns_them_on(as_other: Client, users: Users, ingest: Ingest, upstream: Upstream) -> None:
    checked = re.compile(r"data-answer-enabled\s+checked")
    page = as_other.get("/search/").content.decode()
    assert "data-answer-enabled" in page
    assert not checked.search(page)
    htmx = {"HX-Request": "true"}
    form = {"enabled": "1", "model": "up/llm"}
    assert as_other.post("/search/answer/settings/", form, headers=htmx).status_code == 204
    assert checked.search(as_other.get("/search/").content.decode())
    assert as_other.post("/search/answer/settings/", {"model": "nowhere"}, headers=htmx).status_code == 400
    assert AnswerPreference.objects.get(user=users.other).enabled


def test_without_a_language_model_no_answer_is_offered(as_owner: Client, users: Users) -> None:
    page = as_owner.get("/search/").content.decode()
    assert "data-answer-enabled" not in page
    with pytest.raises(InputError):
        set_answer_preference(user=users.owner, enabled=True, model="default")


def test_the_first_eight_passages_are_sent(users: Users, ingest: Ingest, upstream: Upstream) -> None:
    ingest("parts.md", "".join(f"# Part {number}\n\n{'word ' * 60}\n\n" for number in range(12)))
    assert len(passages()) > 8
    upstream.script(says("Yes [1]."))
    ask(users.owner, q="word?", passage=passages())
    sent = upstream.requests[-1].body["messages"][1]["content"]
    assert "\n[8] parts.md" in sent
    assert "\n[9] parts.md" not in sent


@pytest.mark.parametrize(
    ("html", "linked"),
    [
        ("<p>a [1]</p>", [1]),
        ("<p>a [1][2], [2; 1] 【2】</p>", [1, 2, 2, 1, 2]),
        ("<p>a [0] [3] [999] []</p>", []),
        ("<p><code>a[1]</code></p>", []),
        ("<pre><span>x[1]</span></pre><p>[2]</p>", [2]),
        ('<p><a href="https://x">[1]</a> [1]</p>', [1]),
    ],
)
def test_citations_outside_code_become_links(html: str, linked: list[int]) -> None:
    drawn_html = link_citations(html, ["one.md", 'two"<b>.md'])
    assert [int(part.split('"')[0]) for part in drawn_html.split('href="#result-')[1:]] == linked
    assert "<b>" not in drawn_html


def test_a_citation_is_shown_once_it_is_whole() -> None:
    assert without_begun_citation("<p>wool [1</p>\n") == "<p>wool</p>\n"
    assert without_begun_citation("<ul><li>wool 【2, </li></ul>") == "<ul><li>wool</li></ul>"
    assert without_begun_citation("<p>wool [1]</p>") == "<p>wool [1]</p>"
