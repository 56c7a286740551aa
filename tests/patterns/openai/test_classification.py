"""Each wording of a refusal has its meaning, and each line of the rules has a wording."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest

from tests.patterns.openai.wordings import WORDINGS
from webapp.patterns import errors
from webapp.patterns.openai.classification import RULES_FILE, classify, window_in
from webapp.patterns.openai.error_mapping import MEANINGS, Details, read_error, refused
from webapp.patterns.redaction import Redactor

PLAIN = Redactor()
RULES = tomllib.loads(RULES_FILE.read_text("utf-8"))["rule"]


def body_of(said: Any) -> Any:
    return {"error": {"message": said, "type": None, "param": None, "code": None}} if isinstance(said, str) else said


def details_of(said: Any) -> Details:
    return read_error(body_of(said), PLAIN)


@pytest.mark.parametrize(("status", "said", "meaning", "source"), WORDINGS, ids=[f"{w[3]}: {w[1]!s:.60}" for w in WORDINGS])
def test_a_wording_has_its_meaning(status: int, said: Any, meaning: str, source: str) -> None:
    error = refused(status, json.dumps(body_of(said)).encode(), {}, PLAIN)
    means, _, lacks = meaning.partition(":")
    assert type(error) is MEANINGS[means], f"{source}: {error.message}"
    assert getattr(error, "lacks", "") == lacks


@pytest.mark.parametrize("pattern", [pattern for rule in RULES for pattern in rule.get("words", ())])
def test_each_line_of_the_rules_has_a_wording_of_a_real_server(pattern: str) -> None:
    assert any(re.search(pattern, details_of(said).words or "no reason given", re.IGNORECASE | re.MULTILINE) for _, said, _, _ in WORDINGS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["means"])
def test_each_rule_names_a_known_outcome(rule: dict[str, Any]) -> None:
    assert rule["means"] in MEANINGS


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_has_an_outcome(status: int) -> None:
    assert classify(status, "something else").means in MEANINGS


@pytest.mark.parametrize(
    "planted",
    [
        "insufficient_quota",
        "invalid_api_key",
        "model_not_found",
        "Rate limit reached, try again in 600s",
        "API key expired",
        "credit balance",
    ],
)
def test_a_caller_cannot_close_a_model_or_an_account_by_having_its_words_repeated(planted: str) -> None:
    sent = json.dumps({"model": "m", "response_format": {"type": planted}}).encode()
    raw = json.dumps({"error": {"message": f"Invalid value: '{planted}'. Supported values are: 'text'."}}).encode()
    assert refused(400, raw, {}, PLAIN, sent=sent).scope is errors.Scope.REQUEST


def test_a_name_of_the_model_in_the_request_does_not_hide_that_the_model_is_missing() -> None:
    raw = json.dumps({"error": {"message": "The model 'gpt-9' does not exist."}}).encode()
    assert isinstance(refused(404, raw, {}, PLAIN, sent=b'{"model":"gpt-9"}'), errors.ModelMissing)


@pytest.mark.parametrize(
    ("message", "window"),
    [
        ("This model's maximum context length is 8,192 tokens. However, you requested 9000 tokens", 8192),
        ("Input length (6000 tokens) exceeds the maximum allowed length (4091 tokens).", 4091),
        ("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens", 4096),
        ("input length and `max_tokens` exceed context limit: 190000 + 21333 > 200000", 200000),
        ("Range of input length should be [1, 30720]", 30720),
        ("prompt is too long: 213462 tokens > 200000 maximum", 200000),
        ("The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).", 1048575),
        ("This model's maximum prompt length is 131072 but the request contains 537812 tokens.", 131072),
        ("prompt token count of 150000 exceeds the limit of 128000", 128000),
        ("Your request exceeded model token limit: 8192 (requested: 9000)", 8192),
        ("Prompt exceeds max length", None),
    ],
)
def test_the_window_is_read_from_the_message(message: str, window: int | None) -> None:
    assert window_in(message) == window
