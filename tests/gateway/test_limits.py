"""Limits of a token: requests and tokens a minute, the month's budget."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import openai
import pytest

from tests.cast import Cast
from tests.gateway.api import CHAT, MESSAGES, Api, Exchange
from tests.upstream import Upstream, endless
from webapp.accounts.models import Budget
from webapp.backends import registry
from webapp.backends.api_registry import ApiError
from webapp.backends.models import Attempt
from webapp.backends.services import create_token
from webapp.gateway import limits
from webapp.gateway.auth import Principal
from webapp.gateway.models import Allowance

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()


def principal(cast: Cast, **given: Any) -> Principal:
    return Principal.of(create_token(user=cast.owner, **given)[0])


def refused(who: Principal, now: float) -> ApiError:
    with pytest.raises(ApiError) as caught:
        limits.take_request(who, now)
    return caught.value


def test_requests_beyond_the_limit_wait_for_the_next_to_flow_back(cast: Cast) -> None:
    who = principal(cast, requests_per_minute=3)
    left = [limits.take_request(who, NOW)["x-ratelimit-remaining-requests"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    error = refused(who, NOW)
    assert (error.status, error.code, error.headers["retry-after"]) == (429, "rate_limit_exceeded", "20")
    assert refused(who, NOW + 19).status == 429
    limits.take_request(who, NOW + 20)
    assert refused(who, NOW + 20).status == 429


def test_a_long_pause_saves_up_no_more_than_a_minutes_worth(cast: Cast) -> None:
    who = principal(cast, requests_per_minute=2)
    limits.take_request(who, NOW)
    for _ in range(2):
        limits.take_request(who, NOW + 3600)
    assert refused(who, NOW + 3600).status == 429


def test_tokens_that_were_used_beyond_the_limit_are_paid_back_first(cast: Cast) -> None:
    who = principal(cast, tokens_per_minute=600)
    limits.take_request(who, NOW)
    limits.take_tokens(who, NOW, 1800, 0)
    error = refused(who, NOW)
    assert 119 <= int(error.headers["retry-after"]) <= 121
    assert refused(who, NOW + 119).status == 429
    limits.take_request(who, NOW + 121)


def test_a_spent_budget_ends_with_its_month(cast: Cast) -> None:
    who = principal(cast, monthly_budget=Decimal("0.5"))
    limits.take_request(who, NOW)
    limits.take_tokens(who, NOW, 10, 0.3)
    limits.take_request(who, NOW)
    limits.take_tokens(who, NOW, 10, 0.2)
    error = refused(who, NOW)
    assert (error.status, error.code, error.headers["x-should-retry"]) == (429, "insufficient_quota", "false")
    december = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    assert int(error.headers["retry-after"]) == december - NOW
    limits.take_request(who, december)


def test_a_clock_that_steps_back_gives_nothing_away(cast: Cast) -> None:
    who = principal(cast, requests_per_minute=1)
    limits.take_request(who, NOW)
    assert refused(who, NOW - 3600).status == 429
    assert refused(who, NOW).status == 429


async def test_a_token_without_limits_asks_the_database_nothing(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    response = await api.chat()
    assert not [name for name in response.headers if name.startswith("x-ratelimit")]
    assert not await Allowance.objects.aexists()


async def test_many_at_once_are_let_in_no_more_often_than_the_limit_says(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    await api.use_token(api.people.owner, requests_per_minute=5)
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
    await api.use_token(api.people.owner, tokens_per_minute=10, monthly_budget=Decimal("0.7"))
    assert (await api.chat(stream=streams)).status_code == 200
    row = await Allowance.objects.aget()
    assert row.spent == Decimal("0.7")
    assert row.tokens_left < 1
    assert (await api.chat(stream=streams)).status_code == 429


@pytest.mark.parametrize("streams", [False, True])
async def test_a_client_that_closes_with_the_last_byte_is_counted_too(api: Api, upstream: Upstream, streams: bool) -> None:
    await api.serve(upstream)
    await api.use_token(api.people.owner, tokens_per_minute=1000)
    body = json.dumps({**CHAT, "stream": streams}).encode()
    headers = {"authorization": f"Bearer {api.token}"}
    await Exchange("chat/completions", body, headers=headers, leaves_at_the_end=True).run()
    assert (await Allowance.objects.aget()).tokens_left < 991


async def test_a_stream_that_its_client_cuts_is_counted_and_marked_as_estimated(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    await api.use_token(api.people.owner, tokens_per_minute=1000)
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
    await Budget.objects.acreate(user=api.people.owner, monthly=Decimal(0))
    response = await api.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (429, "insufficient_quota")
    assert int(response.headers["retry-after"]) > 0
    assert upstream.requests == []
