"""Which exception an official SDK raises for what went wrong."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.gateway.api import MESSAGES, Api
from tests.upstream import Upstream, error, hang_up, html, says, status
from webapp.gateway.errors import api_error
from webapp.patterns import errors


@pytest.mark.parametrize(
    ("reply", "raised", "code"),
    [
        (status(400), openai.BadRequestError, 400),
        (error("This model's maximum context length is 10 tokens", code=400, type="x"), openai.BadRequestError, 400),
        (status(401), openai.InternalServerError, 502),
        (status(402), openai.RateLimitError, 429),
        (status(403), openai.PermissionDeniedError, 403),
        (error("The model `m` does not exist", code=404), openai.NotFoundError, 404),
        (status(409), openai.ConflictError, 409),
        (status(413), openai.APIStatusError, 413),
        (status(422), openai.UnprocessableEntityError, 422),
        (status(429, headers={"retry-after": "60"}), openai.RateLimitError, 429),
        (status(500), openai.InternalServerError, 502),
        (status(503), openai.InternalServerError, 502),
        (status(529), openai.InternalServerError, 502),
        (html(), openai.InternalServerError, 502),
        (hang_up, openai.InternalServerError, 502),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
async def test_a_backends_refusal_raises_the_right_class(
    api: Api, upstream: Upstream, reply: Any, raised: type[openai.APIStatusError], code: int, streams: bool
) -> None:
    """FAULTS 39, 40."""
    await api.serve(upstream)
    upstream.default = reply
    with pytest.raises(raised) as caught:
        await api.sdk().chat.completions.create(model="m", messages=MESSAGES, stream=streams)
    assert caught.value.status_code == code
    assert isinstance(caught.value.body, dict)
    assert set(caught.value.body) == {"message", "type", "param", "code"}


async def test_the_callers_own_mistake_comes_back_in_the_backends_words(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    upstream.default = error("top_k must be positive", code=400, type="BadRequestError", param="top_k")
    response = await api.chat()
    assert response.json() == {"error": {"message": "top_k must be positive", "type": "BadRequestError", "param": "top_k", "code": None}}
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("body", ["plain text", {"detail": "no"}, {"detail": [{"msg": "no"}]}, {"error": "no"}, {"error": {"code": 400}}])
async def test_any_shape_of_refusal_becomes_the_one_shape(api: Api, upstream: Upstream, body: Any) -> None:
    await api.serve(upstream)
    upstream.default = status(400, body)
    response = await api.chat()
    assert response.status_code == 400
    said = response.json()["error"]
    assert set(said) == {"message", "type", "param", "code"}
    assert isinstance(said["message"], str)
    assert said["message"]
    assert said["code"] is None or isinstance(said["code"], str)


async def test_the_sdks_own_retry_helps(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    upstream.script(status(500))
    upstream.default = says("second time")
    answer = await api.sdk(retries=1).chat.completions.create(model="m", messages=MESSAGES)
    assert answer.choices[0].message.content == "second time"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.ModelNotFound("no"), 404, "model_not_found"),
        (errors.ModelForbidden("no"), 403, "model_forbidden"),
        (errors.AllCooling("wait", retry_after=2.1), 503, "all_backends_cooling_down"),
        (errors.AllFailed("all", cause=errors.RateLimited("slow", retry_after=7)), 429, "rate_limit_exceeded"),
        (errors.AllFailed("all", cause=errors.QuotaExhausted("paid?")), 429, "insufficient_quota"),
        (errors.AllFailed("all", cause=errors.ContextOverflow("long", window=9)), 400, "context_length_exceeded"),
        (errors.AllFailed("all", cause=errors.CapabilityMissing("no tools")), 400, "unsupported_parameter"),
        (errors.AllFailed("all", cause=errors.TimedOut("late")), 504, "upstream_timeout"),
        (errors.AllFailed("all"), 502, "no_backend_answered"),
        (errors.StreamBroken("cut"), 502, "stream_interrupted"),
        (errors.InputError("bad", param="n", code="x"), 400, "x"),
        (errors.EmbeddingError("NaN"), 502, "bad_upstream_answer"),
    ],
)
def test_each_error_of_the_patterns_has_its_status(error: errors.PatternError, status: int, code: str) -> None:
    told = api_error(error)
    assert (told.status, told.code) == (status, code)


def test_a_wait_is_told_in_seconds_and_in_milliseconds() -> None:
    assert api_error(errors.AllCooling("wait", retry_after=2.1)).headers == {"retry-after": "3", "retry-after-ms": "2100"}
