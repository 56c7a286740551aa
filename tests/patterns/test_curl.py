"""Requests as curl commands, and back."""

from __future__ import annotations

from webapp.patterns.curl import from_curl, to_curl


def test_a_request_survives_the_way_through_curl() -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": 'It\'s $HOME, "quoted" `x` \\ \n ü 😀'}], "stream": True}
    parsed = from_curl(to_curl(body, "http://localhost:8000/v1"))
    assert parsed.body == body
    assert (parsed.base_url, parsed.path, parsed.method) == ("http://localhost:8000/v1", "chat/completions", "POST")
    assert (parsed.api_key, parsed.key_variable) == ("", "OPENAI_API_KEY")
