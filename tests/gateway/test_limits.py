"""Limits at /v1: of a token, its user and the user's groups; requests and tokens per minute, the month's budget."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import openai
import pytest
from django.contrib.auth.models import Group

from tests.gateway.api import CHAT, MESSAGES, Api, Exchange
from tests.upstream import Upstream, endless
from webapp.accounts.models import Budget
from webapp.backends.models import Allowance, Attempt
from webapp.backends.runtime import registry
from webapp.gateway import limits


async def test_a_token_without_limits_asks_the_database_nothing(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    response = await api.chat()
    assert not [name for name in response.headers if name.startswith("x-ratelimit")]
    assert not await Allowance.objects.aexists()


async def test_many_at_once_are_let_in_no_more_often_than_the_limit_says(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    await api.use_token(api.users.owner, requests_per_minute=5)
    answers = await asyncio.gather(*(api.chat() for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 7
    refusal = next(answer for answer in answers if answer.status_code == 429)
    assert int(refusal.headers["retry-after"]) > 0
    with pytest.raises(openai.RateLimitError):
        await api.sdk().chat.completions.create(model="m", messages=MESSAGES)
    assert len(upstream.requests) == 5


@pytest.mark.parametrize("streams", [False, True])
async def test_what_an_answer_used_counts(api: Api, upstream: Upstream, streams: bool) -> None:
    [backend] = await api.serve(upstream)
    backend.input_price, backend.output_price = Decimal(100_000), Decimal(0)
    await backend.asave()
    await api.use_token(api.users.owner, tokens_per_minute=10, monthly_budget=Decimal("0.7"))
    assert (await api.chat(stream=streams)).status_code == 200
    row = await Allowance.objects.aget()
    assert row.spent == Decimal("0.7")
    assert row.tokens_left < 1
    assert (await api.chat(stream=streams)).status_code == 429


@pytest.mark.parametrize("streams", [False, True])
async def test_a_client_that_closes_with_the_last_byte_is_counted_too(api: Api, upstream: Upstream, streams: bool) -> None:
    await api.serve(upstream)
    await api.use_token(api.users.owner, tokens_per_minute=1000)
    body = json.dumps({**CHAT, "stream": streams}).encode()
    headers = {"authorization": f"Bearer {api.token}"}
    await Exchange("chat/completions", body, headers=headers, leaves_at_the_end=True).run()
    assert (await Allowance.objects.aget()).tokens_left < 991


async def test_a_stream_that_its_client_cuts_is_counted_and_marked_as_estimated(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    await api.use_token(api.users.owner, tokens_per_minute=1000)
    upstream.default = endless(pace=0.001)
    headers = {"authorization": f"Bearer {api.token}"}
    exchange = Exchange("chat/completions", json.dumps({**CHAT, "stream": True}).encode(), headers=headers)
    running = asyncio.ensure_future(exchange.run())
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if exchange.raw.count(b"more") >= 50:
            break
    exchange.gone.set()
    await running
    await registry.flush()
    attempt = await Attempt.objects.aget()
    assert attempt.estimated
    assert attempt.completion_tokens >= 50
    assert (await Allowance.objects.aget()).tokens_left < 1000 - attempt.completion_tokens + 50  # some flowed back meanwhile


async def test_a_users_own_spent_budget_is_a_429_too(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    await Budget.objects.acreate(user=api.users.owner, monthly=Decimal(0))
    response = await api.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (429, "insufficient_quota")
    assert int(response.headers["retry-after"]) > 0
    assert response.headers["x-should-retry"] == "false"
    assert upstream.requests == []


async def test_a_users_limit_holds_across_all_of_their_tokens(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    await Budget.objects.acreate(user=api.users.owner, requests_per_minute=2)
    assert (await api.chat()).status_code == 200
    await api.use_token(api.users.owner, requests_per_minute=50)
    passed = await api.chat()
    assert (passed.headers["x-ratelimit-limit-requests"], passed.headers["x-ratelimit-remaining-requests"]) == ("2", "0")
    await api.use_token(api.users.owner)
    refused = await api.chat()
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.json()["error"]["message"] == "Rate limit reached: you may make 2 requests per minute. Try again in 30 seconds."
    assert 28 <= int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"] in {"59s", "1m0s"}
    with pytest.raises(openai.RateLimitError, match="Try again in"):
        await api.sdk().chat.completions.create(model="m", messages=MESSAGES)
    await api.use_token(api.users.other)
    assert (await api.chat()).status_code == 200
    assert len(upstream.requests) == 3


async def test_a_groups_members_share_its_tokens(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    lab = await Group.objects.acreate(name="Lab")
    await lab.user_set.aadd(api.users.owner, api.users.other)
    await Budget.objects.acreate(group=lab, tokens_per_minute=5)
    assert (await api.chat()).status_code == 200  # uses more, as is known afterwards
    await api.use_token(api.users.other)
    refused = await api.chat()
    assert refused.status_code == 429
    assert "all members of Lab together may use 5 tokens per minute" in refused.json()["error"]["message"]


@pytest.mark.parametrize(("seconds", "said"), [(0.25, "250ms"), (1, "1s"), (59.2, "1m0s"), (360, "6m0s")])
def test_when_all_is_back_is_said_as_openai_does(seconds: float, said: str) -> None:
    assert limits.reset(seconds) == said
