"""The messages that fit the window, the fate of the others, and what servers teach about counting tokens."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from chat import services
from chat.generation import context_window
from chat.generation.context_window import ContextFitter
from chat.models import Conversation, Message
from tests.upstream import Upstream, says
from tests.users import Users
from webapp.backends.runtime import learned
from webapp.patterns.context.calibration import Calibration
from webapp.patterns.fallback.breakers import MemoryBreakers
from webapp.patterns.fallback.chain import Chain, Step
from webapp.patterns.openai.backend import OpenAIBackend
from webapp.patterns.types import AttemptLog, Request, Usage


@pytest.fixture(autouse=True)
def empty_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget between tests what was learned about a server."""
    fresh = Calibration()
    monkeypatch.setattr(context_window, "calibration", fresh)
    monkeypatch.setattr(learned, "calibration", fresh)


def chain_of(upstream: Upstream, window: int) -> Chain:
    return Chain("default", [Step(OpenAIBackend("up", upstream.base_url), "m", window=window)], breakers=MemoryBreakers())


def long_talk(turns: int) -> tuple[list[dict[str, Any]], list[UUID | None]]:
    messages = [
        {"role": ("user", "assistant")[number % 2], "content": f"Message {number}. " + "words and words " * 60} for number in range(turns)
    ]
    return messages, [uuid.uuid4() for _ in messages]


def fit_for(chain: Chain, origins: list[UUID | None], **options: Any) -> ContextFitter:
    return ContextFitter(Conversation(options={"max_tokens": 100, **options}), chain, origins, AttemptLog())


async def test_what_does_not_fit_is_left_out_and_named(make_upstream: Callable[..., Upstream]) -> None:
    messages, origins = long_talk(21)
    job = fit_for(chain_of(make_upstream(), 1500), origins)
    sent = await job.fit(messages, [])
    assert len(sent) < len(messages)
    assert job.report["left_out"] == [str(id_) for id_ in origins[: len(messages) - len(sent)]]


async def test_it_is_summarized_on_demand_and_the_summary_serves_again(make_upstream: Callable[..., Upstream]) -> None:
    upstream = make_upstream()
    upstream.default = says("They spoke of words.")
    messages, origins = long_talk(21)
    job = fit_for(chain_of(upstream, 1500), origins, overflow="summarise")
    sent = await job.fit(messages, [])
    assert any("They spoke of words." in str(message["content"]) for message in sent)
    assert job.report["summary"] == "They spoke of words."
    again = fit_for(job.chain, origins, overflow="summarise")
    again.summary = context_window.from_json(context_window.as_json(job.summary))
    await again.fit(messages, [])
    assert len([request for request in upstream.requests if request.method == "POST"]) == 1


@pytest.mark.django_db(transaction=True)
async def test_a_server_that_cuts_silently_is_found_out_and_then_fitted_to(make_upstream: Callable[..., Upstream]) -> None:
    upstream = make_upstream()
    upstream.default = says("Yes.", usage={"prompt_tokens": 2048, "completion_tokens": 1, "total_tokens": 2049})
    chain = chain_of(upstream, 50_000)
    for turns in (41, 51, 61):
        messages, origins = long_talk(turns)
        job = fit_for(chain, origins)
        await chain.send(Request.chat(await job.fit(messages, [])), trail=job.trail)
        await job.learn()
        assert ("truncated" in job.report) == (turns == 61)
    assert job.report["truncated"]["read"] == 2048
    again = fit_for(job.chain, origins)
    await again.fit(messages, [])
    assert again.report["window"] == 2048
    assert again.report["left_out"]


async def test_a_learned_window_into_which_nothing_fits_does_not_refuse_a_message(make_upstream: Callable[..., Upstream]) -> None:
    chain = chain_of(make_upstream(), 50_000)
    for counted in (20_000, 30_000, 40_000):
        learned.calibration.observe(("up", "m"), counted=counted, usage=Usage(prompt_tokens=700))
    assert context_window.window_of(chain) == 700
    messages: list[dict[str, Any]] = [{"role": "user", "content": "A question. " * 200}]
    tools = [{"type": "function", "function": {"name": "f", "description": "word " * 800, "parameters": {"type": "object"}}}]
    job = fit_for(chain, [uuid.uuid4()], max_tokens=4000)
    assert await job.fit(messages, tools) == messages


@pytest.mark.django_db(transaction=True)
async def test_a_report_makes_the_count_exact(make_upstream: Callable[..., Upstream]) -> None:
    upstream = make_upstream()
    upstream.default = says("Yes.", usage={"prompt_tokens": 500, "completion_tokens": 1, "total_tokens": 501})
    messages, origins = long_talk(3)
    job = fit_for(chain_of(upstream, 50_000), origins)
    await job.chain.send(Request.chat(await job.fit(messages, [])), trail=job.trail)
    await job.learn()
    assert (job.report["prompt_tokens"], job.report["counted_by"]) == (500, ["up", "m"])
    assert learned.calibration.factor(("up", "m")) != 1.0


@pytest.mark.django_db
def test_the_transcript_marks_what_is_left_out_and_offers_the_choice(users: Users, as_owner: Client, as_other: Client) -> None:
    send: dict[str, Any] = {"owner": uuid.uuid4(), "conversation_id": uuid.uuid4(), "user": users.owner}
    for number in range(2):
        started = services.send_message(**send, text=f"Question {number}")
        question = Message.objects.earliest("created_at")
        report = {"left_out": [str(question.id)], "cut": [], "window": 512} if number else {}
        services.finish_generation(generation_id=started.generation.id, parts=[], outcome=services.Outcome(report=report), html="<p>x</p>")
    page = as_owner.get(f"/chat/{send['conversation_id']}/").content.decode()
    assert page.count('data-fate="left out"') == 1
    assert "1 earlier message did not fit into the context window of 512 tokens" in page
    choice = f"/chat/{send['conversation_id']}/overflow/"
    assert as_other.post(choice, {"how": "summarise"}).status_code == 404
    assert as_owner.post(choice, {"how": "nonsense"}).status_code == 400
    assert "summarized" in as_owner.post(choice, {"how": "summarise"}).content.decode()
    assert Conversation.objects.get().options["overflow"] == "summarise"
