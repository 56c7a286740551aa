"""The Batch API's JSONL: FAULTS 41, splitting, results joined by custom_id."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.patterns.batch import input_file, results
from webapp.patterns.types import Usage

CHAT = "/v1/chat/completions"


def a_line(custom_id: Any = "a", **changes: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | changes.pop("body", {})
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body} | changes


def jsonl(*lines: Any) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


def check(raw: bytes, **options: Any) -> input_file.Validated:
    return input_file.validate(io.BytesIO(raw), **options)


def problems(raw: bytes, **options: Any) -> list[tuple[str, int | None, str | None]]:
    return [(error.code, error.line, error.param) for error in check(raw, **options).errors]


def test_a_file_that_is_only_too_large_can_be_split() -> None:
    small = input_file.Limits(lines=2)
    raw = jsonl(a_line("a"), a_line("b"), a_line("c")).rstrip(b"\n")
    found = check(raw, limits=small)
    assert found.only_too_large
    parts = list(input_file.split(input_file.lines_of(io.BytesIO(b" \n" + raw)), limits=small))
    assert [part for part, _line in parts] == [0, 0, 1]
    assert all(check(line).ok for _part, line in parts)
    assert not check(jsonl(a_line("a"), b"[]", a_line("b")), limits=small).only_too_large
    assert not check(jsonl(a_line("a"))).only_too_large


def test_a_good_file_is_known_by_its_lines_endpoint_and_model() -> None:
    raw = jsonl(a_line("a"), a_line("ü"))
    result = check(raw)
    assert result.ok
    assert (result.endpoint, result.model, result.size) == (CHAT, "m", len(raw))
    assert [(line.number, line.custom_id) for line in result.lines] == [(1, "a"), (2, "ü")]
    assert [json.loads(raw[line.offset : line.offset + line.length])["custom_id"] for line in result.lines] == ["a", "ü"]


WRONG_LINES: list[tuple[Any, str, str | None]] = [
    (b"{", "invalid_json_line", None),
    (b"[]", "invalid_json_line", None),
    (b"null", "invalid_json_line", None),
    (b'{"a": NaN}', "invalid_json_line", None),
    (b'{"a": 1e999}', "invalid_json_line", None),
    (b'{"a": "\xff"}', "invalid_json_line", None),
    (b'{"a": 1, "a": 2}', "invalid_json_line", None),
    (b"[" * 10_000, "invalid_json_line", None),
    (b"\xef\xbb\xbf{}", "invalid_json_line", None),
    (b"  ", "invalid_json_line", None),
    (b"{" + b" " * 2000 + b"}", "invalid_json_line", None),
    (a_line(None), "missing_required_parameter", "custom_id"),
    (a_line(7), "invalid_request", "custom_id"),
    (a_line(""), "invalid_request", "custom_id"),
    (a_line("x" * 513), "invalid_request", "custom_id"),
    (a_line("nul\0"), "invalid_request", "custom_id"),
    (a_line("first"), "duplicate_custom_id", "custom_id"),
    (a_line(method="GET"), "invalid_method", "method"),
    (a_line(url=None), "missing_required_parameter", "url"),
    (a_line(url="/v1/embeddings"), "invalid_url", "url"),
    (a_line(url=5), "invalid_url", "url"),
    ({k: v for k, v in a_line().items() if k != "method"}, "missing_required_parameter", "method"),
    ({k: v for k, v in a_line().items() if k != "body"}, "missing_required_parameter", "body"),
    ({**a_line(), "body": "x"}, "invalid_request", "body"),
    (a_line(body={"model": None}), "missing_required_parameter", "body.model"),
    (a_line(body={"model": 4}), "invalid_request", "body.model"),
    (a_line(body={"model": "other"}), "mismatched_model", "body.model"),
    (a_line(body={"messages": None}), "missing_required_parameter", "body.messages"),
    (a_line(body={"messages": []}), "invalid_request", "body.messages"),
    (a_line(body={"messages": ["x"]}), "invalid_request", "body.messages"),
    (a_line(body={"stream": True}), "invalid_request", "body.stream"),
    (a_line(body={"api_base": "http://evil"}), "invalid_request", "body.api_base"),
    (a_line(body={"azure_endpoint": "http://evil"}), "invalid_request", "body.azure_endpoint"),
]


@pytest.mark.parametrize(("wrong", "code", "param"), WRONG_LINES)
def test_a_wrong_line_is_named_by_code_number_and_field(wrong: Any, code: str, param: str | None) -> None:
    """FAULTS 41: bad lines of every kind."""
    limits = (
        input_file.Limits(line_bytes=11_000) if isinstance(wrong, bytes) and len(wrong) > 9_000 else input_file.Limits(line_bytes=1_500)
    )
    assert problems(jsonl(a_line("first"), wrong, a_line("last")), endpoint=CHAT, limits=limits) == [(code, 2, param)]


def test_all_errors_are_reported_at_once() -> None:
    """FAULTS 41: all of them at once."""
    raw = jsonl(a_line("a"), b"{", a_line("a", url="/v1/x"), a_line("b", body={"model": "n"}))
    assert [code for code, _, _ in problems(raw, endpoint=CHAT)] == [
        "invalid_json_line",
        "duplicate_custom_id",
        "invalid_url",
        "mismatched_model",
    ]


def test_of_very_many_errors_the_first_are_kept_and_all_are_counted() -> None:
    result = check(b"{\n" * 50, max_errors=10)
    assert (len(result.errors), result.error_count, result.ok) == (10, 50, False)


@pytest.mark.parametrize("raw", [b"", b"\n\n", b" \r\n"])
def test_an_empty_file_is_named(raw: bytes) -> None:
    """FAULTS 41: an empty file."""
    assert problems(raw) == [("empty_file", None, None)]


def test_blank_lines_at_the_end_and_windows_line_ends_are_no_error() -> None:
    assert check(jsonl(a_line("a")).replace(b"\n", b"\r\n") + b"\n\n").ok


def test_one_line_too_many_is_named_with_its_number() -> None:
    """FAULTS 41: 50,001 lines."""
    raw = b"".join(input_file.request_line(str(n), {"model": "m", "messages": [{"role": "user"}]}, endpoint=CHAT) for n in range(50_001))
    assert problems(raw) == [("too_many_tasks", 50_001, None)]


def test_a_file_over_the_size_limit_is_named() -> None:
    """FAULTS 41: 201 MB, here against a smaller limit."""
    raw = jsonl(a_line("a"))
    assert problems(raw, limits=input_file.Limits(bytes=len(raw) - 1)) == [("file_too_large", None, None)]
    assert input_file.LIMITS.bytes == 209_715_200


def test_a_line_without_end_costs_the_memory_of_the_limit_only() -> None:
    raw = b'"' + b"x" * 5_000
    result = check(raw, limits=input_file.Limits(line_bytes=100))
    assert (result.size, [error.code for error in result.errors]) == (len(raw), ["invalid_json_line"])


def test_an_unknown_url_on_the_first_line_names_what_is_possible() -> None:
    result = check(jsonl(a_line(url="/v1/images")))
    assert [error.code for error in result.errors] == ["invalid_url"]
    assert CHAT in result.errors[0].message
    assert result.errors[0].as_json()["line"] == 1


def test_a_message_needs_its_limit() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert check(input_file.request_line("a", {**body, "max_tokens": 9}, endpoint="/v1/messages")).ok
    missing = problems(input_file.request_line("a", body, endpoint="/v1/messages"))
    assert missing == [("missing_required_parameter", 1, "body.max_tokens")]


@pytest.mark.parametrize(("endpoint", "body"), [("/v1/embeddings", {"input": ["x"]}), ("/v1/completions", {"prompt": "x"})])
def test_other_endpoints_have_their_own_required_field(endpoint: str, body: dict[str, Any]) -> None:
    assert check(input_file.request_line("a", {"model": "m"} | body, endpoint=endpoint)).ok
    missing = problems(input_file.request_line("a", {"model": "m"}, endpoint=endpoint))
    assert missing == [("missing_required_parameter", 1, f"body.{next(iter(body))}")]


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@given(st.dictionaries(text, text, min_size=1, max_size=20))
def test_what_is_written_is_valid_and_comes_back(contents: dict[str, str]) -> None:
    file = io.BytesIO()
    bodies = {key: {"model": "m", "messages": [{"role": "user", "content": value}]} for key, value in contents.items()}
    assert input_file.write(file, bodies.items(), endpoint=CHAT) == len(bodies)
    raw = file.getvalue()
    result = check(raw, endpoint=CHAT)
    assert result.ok
    assert {line.custom_id: json.loads(raw[line.offset : line.offset + line.length])["body"] for line in result.lines} == bodies


@given(st.binary(max_size=300), st.integers(5, 60))
def test_no_bytes_break_the_validator_and_the_size_is_right(raw: bytes, most: int) -> None:
    result = check(raw, limits=input_file.Limits(line_bytes=most))
    assert result.size == len(raw)
    assert not result.ok  # 60 bytes are too few for a good line


@given(st.lists(st.binary(min_size=1, max_size=8)), st.integers(1, 4), st.integers(8, 20))
def test_split_keeps_every_line_in_order_and_every_part_within_the_limits(lines: list[bytes], most: int, size: int) -> None:
    parts = list(input_file.split(lines, limits=input_file.Limits(lines=most, bytes=size)))
    assert [line for _, line in parts] == lines
    for number in {part for part, _ in parts}:
        own = [line for part, line in parts if part == number]
        assert len(own) <= most
        assert sum(map(len, own)) <= size


def test_a_line_longer_than_a_file_may_be_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="9 bytes"):
        list(input_file.split([b"x" * 9], limits=input_file.Limits(bytes=8)))


def test_a_line_gets_the_model_that_the_server_knows() -> None:
    line = input_file.with_model(input_file.request_line("ü", {"model": "route", "messages": []}, endpoint=CHAT), "gpt-real")
    assert json.loads(line) == a_line("ü", body={"model": "gpt-real", "messages": []})


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}


def test_an_output_line_is_read_back_as_a_result() -> None:
    body = {"choices": [], "usage": USAGE}
    line = results.output_line("batch_req_1", 'a"b', status=200, raw=json.dumps(body).encode())
    result = results.read_result(line)
    assert result == results.BatchResult('a"b', 200, body, request_id="batch_req_1")
    assert result.ok
    assert result.usage == Usage(3, 2, 1, 0)


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ({"response": {"status_code": 400, "body": {"error": {"code": "bad", "message": "No."}}}, "error": None}, "bad", "No."),
        ({"response": None, "error": {"code": "batch_expired", "message": "Late."}}, "batch_expired", "Late."),
        ({"response": {"status_code": 500, "body": "oops"}}, "http_500", ""),
        ({"response": {"status_code": 429, "body": {"error": {"type": "slow"}}}}, "slow", ""),
        ({"response": {"status_code": 200, "body": {}}, "error": "text"}, "error", "text"),
        ({"response": {"status_code": "200", "body": {}}}, "no_response", "The result has neither a response nor an error."),
        ({}, "no_response", "The result has neither a response nor an error."),
    ],
)
def test_a_failed_row_says_why(line: dict[str, Any], code: str, message: str) -> None:
    result = results.read_result(json.dumps({"custom_id": "a", **line}).encode())
    assert result is not None
    assert (result.ok, result.code, result.message) == (False, code, message)


def test_a_good_row_is_good() -> None:
    result = results.read_result(b'{"custom_id": "a", "response": {"status_code": 200, "body": {"usage": {"prompt_tokens": true}}}}')
    assert result is not None
    assert (result.ok, result.usage) == (True, Usage())
    assert results.BatchResult("a", 200, None).usage == Usage()


def test_lines_that_are_no_result_are_left_out() -> None:
    lines = [b"", b"{", b"[]", b'{"custom_id": 3}', b'{"custom_id": "a"}']
    assert [result.custom_id for result in results.read_results(lines)] == ["a"]


def test_results_are_joined_by_custom_id_in_input_order() -> None:
    bad, good, again = (
        results.BatchResult("a", 500, None, "x"),
        results.BatchResult("a", 200, {}),
        results.BatchResult("a", 200, {"later": 1}),
    )
    assert list(results.join(["b", "a"], [bad, good, again])) == [("b", None), ("a", good)]


def test_a_row_without_response_has_its_error_in_the_line() -> None:
    line = json.loads(results.output_line("r", "a", status=None, raw=b"", error={"code": "batch_cancelled", "message": "x"}))
    assert line == {"id": "r", "custom_id": "a", "response": None, "error": {"code": "batch_cancelled", "message": "x"}}


def test_json_over_many_lines_is_written_on_one() -> None:
    assert results.on_one_line(b'{"a":  1}') == b'{"a":  1}'
    assert results.on_one_line(b'{\r\n "a": "\\n", "b": 1e999}') == b'{   "a": "\\n", "b": 1e999}'
