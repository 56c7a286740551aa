"""Answers by a JSON schema."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

import pytest

from chat.forms import SettingsForm
from chat.generation import structured
from chat.html.json_view import form, table
from chat.models import Conversation
from chat.streaming.generation_state import GenerationState
from tests.upstream import Upstream, says
from tests.users import Users
from webapp.patterns.errors import OutputInvalid
from webapp.patterns.openai.backend import OpenAIBackend
from webapp.patterns.types import AttemptLog, Request

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "people": {"type": "integer"}}, "required": ["city", "people"]}
GOOD, BAD = json.dumps({"city": "Bern", "people": 134_000}), json.dumps({"city": "Bern", "people": "many"})


async def ask(upstream: Upstream) -> GenerationState:
    live = GenerationState(generation_id=uuid.uuid4(), message_id=uuid.uuid4(), conversation_id=uuid.uuid4(), mine=False, base=[])
    backend = OpenAIBackend("up", upstream.base_url)
    request = Request.chat([{"role": "user", "content": "Which city?"}]).with_options(model="m")
    try:
        await structured.answer(live, backend, request, SCHEMA, AttemptLog())
    finally:
        await backend.aclose()
    return live


async def test_an_answer_that_does_not_fit_is_asked_for_again_and_the_page_says_so(make_upstream: Callable[..., Upstream]) -> None:
    upstream = make_upstream()
    upstream.script(says(BAD), says(GOOD))
    live = await ask(upstream)
    assert "Retrying (2 of 3)" in live.note
    part = live.answer.as_json()[0]
    assert (part["value"], part["text"]) == ({"city": "Bern", "people": 134_000}, GOOD)
    html = live.view.final_html()
    assert "<dt>City</dt><dd>Bern</dd>" in html
    assert "1 answer did not fit the schema" in html
    assert "not of type" in html or "integer" in html


async def test_it_stops_asking_after_three_and_shows_what_came_last(make_upstream: Callable[..., Upstream]) -> None:
    upstream = make_upstream()
    upstream.default = says(BAD)
    with pytest.raises(OutputInvalid):
        await ask(upstream)
    assert len([request for request in upstream.requests if request.method == "POST"]) == 3


def test_a_form_escapes_and_a_table_takes_the_list_of_objects() -> None:
    """FAULTS 5: what a model writes is text."""
    assert form({"a_b": "<img src=x>", "on": True, "none": None}).startswith("<dl><dt>A b</dt><dd>&lt;img src=x&gt;</dd>")
    rows = table({"items": [{"name": "x", "n": 1}, {"name": "<b>"}]})
    assert '<th scope="col">Name</th>' in rows
    assert "<td>&lt;b&gt;</td><td></td>" in rows
    assert "<td>a.b</td><td>1</td>" in table({"a": {"b": 1}})


@pytest.mark.django_db
def test_an_invalid_schema_is_refused_when_it_is_saved(users: Users) -> None:
    form_ = SettingsForm({"json_schema": '{"type": "nonsense"}'}, conversation=Conversation(user=users.owner))
    assert "not a JSON schema" in str(form_.errors["json_schema"])
