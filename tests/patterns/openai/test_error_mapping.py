"""Each status and each dialect of error body maps to its error class (FAULTS 40)."""

from __future__ import annotations

import email.utils
import json
import time
from typing import Any

import pytest

from webapp.patterns import errors
from webapp.patterns.openai.error_mapping import read_error, refused, reported
from webapp.patterns.openai.waits import LONGEST_WAIT, retry_after
from webapp.patterns.redaction import Redactor

PLAIN = Redactor()


def refusal(status: int, /, message: str = "no", **fields: Any) -> errors.BackendError:
    return refused(status, json.dumps({"error": {"message": message, **fields}}).encode(), {}, PLAIN)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, errors.RequestRejected) for code in (400, 418, 422)),
        (413, errors.BodyTooLarge),
        *((code, errors.AuthenticationFailed) for code in (401, 407)),
        (403, errors.Forbidden),
        *((code, errors.ModelMissing) for code in (404, 410)),
        *((code, errors.CapabilityMissing) for code in (405, 501)),
        *((code, errors.ServerFailed) for code in (408, 500, 502, 503, 504, 520, 529)),
        (402, errors.QuotaExhausted),
        *((code, errors.Conflict) for code in (409, 424, 425)),
        (429, errors.RateLimited),
        (307, errors.BadAnswer),
    ],
)
def test_each_status_has_its_error(code: int, kind: type[errors.BackendError]) -> None:
    error = refusal(code)
    assert type(error) is kind
    assert error.status == code
    assert error.message == f"HTTP {code}: no"


@pytest.mark.parametrize(
    ("code", "fields", "window"),
    [
        (400, {"message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. "
                          "Please reduce the length of the messages.", "code": "context_length_exceeded", "param": "messages"}, 8192),
        (400, {"message": "This model's maximum context length is 4,096 tokens. However, you requested 5000", "type": "BadRequestError",
               "param": "input_tokens", "code": 400}, 4096),
        (400, {"message": "the request exceeds the available context size, try increasing it", "type": "exceed_context_size_error",
               "n_prompt_tokens": 5000, "n_ctx": 2048}, 2048),
        (400, {"message": "prompt is too long: 250000 tokens > 200000 maximum"}, 200000),
        (400, {"message": "Requested tokens (600) exceed context window of 512"}, 512),
        (500, {"message": "Requested tokens (600) exceed context window of 512"}, 512),
        (413, {"message": "Input is too long for requested model."}, None),
        (422, {"message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length"}, None),
        (400, {"message": "too long", "type": "invalid_request_error", "param": "input_tokens"}, None),
    ],
)  # fmt: skip
def test_a_context_overflow_is_known_in_every_dialect(code: int, fields: dict[str, Any], window: int | None) -> None:
    error = refusal(code, **fields)
    assert isinstance(error, errors.ContextOverflow)
    assert error.window == window


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (400, "registry.ollama.ai/library/gemma:2b does not support tools", errors.CapabilityMissing),
        (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', errors.CapabilityMissing),
        (400, "response_format.type json_schema is not supported", errors.CapabilityMissing),
        (422, "This model doesn't support image input", errors.CapabilityMissing),
        (400, "Unsupported value: 'temperature' is not supported with this model", errors.ParameterRefused),
        (400, "model 'nope' not found, try pulling it first", errors.ModelMissing),
        (400, "The model `gpt-9` does not exist or you do not have access to it.", errors.ModelMissing),
        (400, "API key not valid. Please pass a valid API key.", errors.AuthenticationFailed),
        (400, "Your credit balance is too low: billing", errors.QuotaExhausted),
        (400, "temperature must be at most 2", errors.RequestRejected),
        (429, "You exceeded your current quota, please check your plan and billing details.", errors.QuotaExhausted),
        (429, "Rate limit reached for requests", errors.RateLimited),
    ],
)
def test_messages_say_what_a_status_leaves_open(code: int, message: str, kind: type[errors.BackendError]) -> None:
    assert type(refusal(code, message)) is kind


def test_insufficient_quota_is_told_from_a_rate_limit_by_its_code() -> None:
    assert isinstance(refusal(429, "Sorry", code="insufficient_quota"), errors.QuotaExhausted)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "boom"}}', "boom"),
        (b'{"error": "boom"}', "boom"),
        (b'{"message": "boom"}', "boom"),
        (b'{"detail": "boom"}', "boom"),
        (b'{"detail": [{"loc": ["body", "n"], "msg": "boom", "type": "int"}, "and", {"msg": "bang"}]}', "body.n: boom; and; bang"),
        (b'{"detail": {"error": "boom"}}', "boom"),
        (b'[{"error": {"message": "boom", "status": "UNAVAILABLE"}}]', "boom"),
        (b'{"error": {"message": {"detail": "boom"}}}', "boom"),
        (b"  boom\n at once ", "boom at once"),
        (b"<html><head><title>502 Bad Gateway</title></head></html>", "an HTML page: 502 Bad Gateway"),
        (b"<html></html>", "an HTML page"),
        pytest.param(b"<title" * 170_000, "an HTML page", id="a megabyte of openings"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"x" * 600, "x" * 500 + "…"),
        (b"", "no reason given (the body was empty or held no message)"),
        (b"{}", "no reason given (the body was empty or held no message)"),
        (b"[]", "no reason given (the body was empty or held no message)"),
        (b"7", "no reason given (the body was empty or held no message)"),
        (b'{"error": 7}', "no reason given (the body was empty or held no message)"),
        (b"[" * 100_000, "[" * 500 + "…"),
    ],
)
def test_the_message_is_found_in_every_shape_of_body(body: bytes, message: str) -> None:
    assert refused(500, body, {}, PLAIN).message == f"HTTP 500: {message}"


def test_a_redirect_says_that_it_is_not_followed() -> None:
    assert refused(302, b"", {"location": "http://x"}, PLAIN).message == "HTTP 302: no reason given (a redirect, which is never followed)"


def test_the_body_for_the_caller_has_all_four_keys_and_what_else_was_there() -> None:
    assert refusal(400, "bad n", param="n", inner=1).body == {"message": "bad n", "type": None, "param": "n", "code": None, "inner": 1}


def test_a_number_for_a_code_is_a_word() -> None:
    assert read_error({"error": {"message": "x", "code": 503, "type": True}}, PLAIN).code == "503"
    assert read_error({"error": {"message": "x", "code": True}}, PLAIN).code is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"message": "boom"}}, errors.ServerFailed),
        ({"error": {"message": "boom", "code": 429}}, errors.RateLimited),
        ({"error": {"message": "boom", "code": "429"}}, errors.RateLimited),
        ({"error": {"message": "boom", "type": "rate_limit_exceeded"}}, errors.RateLimited),
        ({"error": {"message": "boom", "code": 401}}, errors.AuthenticationFailed),
        ({"error": {"message": "model x not found"}}, errors.ModelMissing),
        ({"error": {"message": "maximum context length is 100 tokens"}}, errors.ContextOverflow),
        ({"error": {"message": "boom", "code": 1234}}, errors.ServerFailed),
        ({"error": {"message": "broken", "type": "unreadable_stream"}}, errors.BadAnswer),
        ({"object": "error", "message": "boom", "code": 400}, errors.RequestRejected),
        ({"error": {}}, errors.ServerFailed),
    ],
)
def test_an_error_object_with_status_200_means_what_its_code_says(body: Any, kind: type[errors.BackendError]) -> None:
    assert type(reported(body, PLAIN)) is kind


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"llm_provider-retry-after": "7"}, 7),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "1e9"}, LONGEST_WAIT),
        ({"retry-after": email.utils.formatdate(1_000_030, usegmt=True)}, 30),
        ({"retry-after": email.utils.formatdate(999_000, usegmt=True)}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "x"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_from_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1_000_000) == seconds


def test_an_http_date_counts_from_now() -> None:
    assert retry_after({"retry-after": email.utils.formatdate(time.time() + 60, usegmt=True)}) == pytest.approx(60, abs=2)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        ({"retry_after": 3}, 3),
        ({"retry_after_ms": 1500}, 1.5),
        ({"retry_after_seconds": "4"}, 4),
        ({"details": [7, {"@type": "x"}, {"retryDelay": "17s"}]}, 17),
        ({"details": [{"retryDelay": "500ms"}]}, 0.5),
        ({"message": "Rate limit reached. Please try again in 1.2s. Visit …"}, 1.2),
        ({"message": "Please try again in 20ms."}, 0.02),
        ({"message": "Please try again in 6m1.5s."}, 361.5),
        ({"message": "Please try again in 1h2m3s."}, 3723),
        ({"message": "Please retry after 12 seconds."}, 12),
        ({"message": "Please try again later."}, None),
        ({"message": "No wait."}, None),
    ],
)
def test_retry_after_is_read_from_the_body(error: dict[str, Any], seconds: float | None) -> None:
    assert refusal(429, error.pop("message", "slow down"), **error).retry_after == seconds


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ('Internal error: Traceback (most recent call last): File "/srv/vllm/engine.py", line 3, in run', "HTTP 500: Internal error … ("),
        ("Could not open /opt/models/llama/weights.gguf", "HTTP 500: Could not open … ("),
        ("TypeError: x at Layer.handle (/app/node_modules/express/lib/router/layer.js:95:5)", "HTTP 500: TypeError: x at Layer.handle … ("),
        ("connect failed: postgres://user:pw@db/prod", "HTTP 500: connect failed … ("),
        ("OPENAI_API_KEY=abc is wrong", "HTTP 500: The server reported an internal error. ("),
        (r"C:\models\llama\weights.gguf is missing", "HTTP 500: The server reported an internal error. ("),
    ],
)
def test_paths_traces_and_configuration_stay_in_the_attempt_log(text: str, start: str) -> None:
    error = refusal(500, text)
    assert error.message.startswith(start)
    assert error.detail == f"HTTP 500: {text}"
    assert error.body is not None
    assert error.body["message"] in error.message


@pytest.mark.parametrize("text", ["Use https://example.org/docs/errors for help.", "Expected a/b or c/d", "5 tokens / second", "and/or"])
def test_addresses_and_slashes_are_no_paths(text: str) -> None:
    error = refusal(500, text)
    assert (error.message, error.detail) == (f"HTTP 500: {text}", "")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "Provider returned error", "metadata": {"raw": "plain words"}}}, "plain words"),
        ({"error": {"message": "Provider returned error", "metadata": {"raw": {"error": {"message": "inside"}}}}}, "inside"),
        ({"error": {"message": '{"error": {"message": "in a text"}}'}}, "in a text"),
        ({"error": {"message": "litellm.BadRequestError: X - {'error': {'message': \"it's inside\", 'code': 400}}"}}, "it's inside"),
        ({"code": "invalid-argument", "error": "xAI's own shape"}, "xAI's own shape"),
        ({"errors": [{"message": "Cloudflare's shape"}]}, "Cloudflare's shape"),
        ({"error": ["Hugging Face's shape"]}, "Hugging Face's shape"),
        ({"Message": "Bedrock's shape"}, "Bedrock's shape"),
        ({"error": {"code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}, "message": "outer"}}, "outer"),
    ],
)
def test_the_message_nearest_to_the_provider_is_the_one_that_is_told(body: Any, message: str) -> None:
    assert read_error(body, PLAIN).message == message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30s"}, 30),
        ({"retry-after": "2m"}, 120),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-remaining-requests": "5"}, None),
        ({"x-ratelimit-reset": "1000000060"}, 60),
        ({"x-ratelimit-reset": "1000000060000"}, 60),
        ({"anthropic-ratelimit-tokens-reset": "2001-09-09T01:47:10Z"}, 30),
        ({"ratelimit-reset": "12"}, 12),
    ],
)
def test_limits_that_reset_say_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1_000_000_000) == seconds


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please try again in 5 minutes.", 300),
        ("Try again in 1 hour and 30 minutes", 5400),
        ("Retry in 2h", 7200),
        ("Please wait 90 seconds before retrying", 90),
        ("You will regain access on 2001-09-09 at 02:46 UTC.", 3560),
        ("Try again in an hour.", 3600),
        ("Rate limit resets in 45s", 45),
        ("Please retry after 500 milliseconds", 0.5),
        ("Retry your request with 3 images", None),
    ],
)
def test_waits_in_words_are_read(message: str, seconds: float | None) -> None:
    assert retry_after({}, {"message": message}, now=1_000_000_000) == seconds


def test_a_wait_in_the_headers_that_an_aggregator_passes_on_is_read() -> None:
    error = {
        "message": "Rate limit exceeded",
        "metadata": {"headers": {"X-RateLimit-Reset": "1000000060000", "X-RateLimit-Remaining": "0"}},
    }
    assert retry_after({}, error, now=1_000_000_000) == 60
