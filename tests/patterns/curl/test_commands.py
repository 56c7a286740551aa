"""Requests as curl commands that run, and curl commands as requests."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.upstream import Upstream
from webapp.patterns.curl.commands import from_curl, to_curl
from webapp.patterns.errors import InputError

BASE = "http://localhost:8000/v1"
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
HOSTILE = "It's $HOME, \"quoted\" `id` \\ \\\\ !! \n\t ü 😀 \u2028 \x00 <<EOF @file 'EOF'\nPATCHBAY_BODY\n; rm -rf /"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(st.text(max_size=8), JSON, max_size=4)


def run_in_shell(command: str, key: str = "sk-test") -> None:
    done = subprocess.run(
        ["bash", "--norc", "-s"],
        input=command.encode(),
        capture_output=True,
        timeout=20,
        check=False,
        env={"OPENAI_API_KEY": key, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "no_proxy": "*"},
    )
    assert done.returncode == 0, done.stderr.decode()


# --- there and back


@given(BODIES)
def test_any_body_survives_the_way_there_and_back(body: dict[str, Any]) -> None:
    parsed = from_curl(to_curl(body, BASE))
    assert parsed.body == body
    assert (parsed.base_url, parsed.path, parsed.method) == (BASE, "chat/completions", "POST")
    assert (parsed.api_key, parsed.key_variable) == ("", "OPENAI_API_KEY")


@given(BODIES)
def test_a_shell_reads_the_command_as_the_same_words(body: dict[str, Any]) -> None:
    """The standard library's reading of POSIX quoting, as a second opinion."""
    words = shlex.split(to_curl(body, BASE))
    assert words[0] == "curl"
    assert json.loads(words[words.index("-d") + 1]) == body


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
@settings(max_examples=12, deadline=None)
@given(body=BODIES)
def test_a_command_runs_as_pasted(body: dict[str, Any], upstream: Upstream) -> None:
    """By really running curl in a shell."""
    upstream.requests.clear()
    run_in_shell(to_curl(body, upstream.base_url))
    (received,) = upstream.requests
    assert received.body == body
    assert (received.method, received.path) == ("POST", "/v1/chat/completions")
    assert received.headers["authorization"] == "Bearer sk-test"
    assert received.headers["content-type"] == "application/json"


@pytest.fixture(scope="module")
def upstream() -> Any:
    server = Upstream()
    yield server
    server.stop()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": HOSTILE}]},
        {"messages": [{"role": "user", "content": "long " * 60_000 + HOSTILE}]},
        {"messages": [{"role": "user", "content": "half a pair: \ud83d"}]},
        {**BODY, "stream": True},
    ],
    ids=["hostile", "too long for an argument", "lone surrogate", "stream"],
)
def test_hostile_and_huge_bodies_run_and_come_back(body: dict[str, Any], upstream: Upstream) -> None:
    command = to_curl(body, upstream.base_url, headers={"X-Note": 'it\'s "$HOME"', "X-Empty": ""})
    assert from_curl(command).body == body
    upstream.requests.clear()
    run_in_shell(command)
    (received,) = upstream.requests
    assert received.body == body
    assert (received.headers["x-note"], received.headers["x-empty"]) == ('it\'s "$HOME"', "")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
def test_a_get_runs_as_pasted(upstream: Upstream) -> None:
    upstream.requests.clear()
    run_in_shell(to_curl(None, upstream.base_url, "models?x=[1-3]&y={a,b}"))
    (received,) = upstream.requests
    assert (received.method, received.path, received.query) == ("GET", "/v1/models", {"x": "[1-3]", "y": "{a,b}"})


# --- to curl


def test_a_command_reads_like_the_documentation() -> None:
    assert to_curl(BODY, "https://api.openai.com/v1/") == (
        "curl https://api.openai.com/v1/chat/completions \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        '  -H "Authorization: Bearer $OPENAI_API_KEY" \\\n'
        "  -d '{\n"
        '  "model": "gpt-4o",\n'
        '  "messages": [\n'
        "    {\n"
        '      "role": "user",\n'
        '      "content": "Hello"\n'
        "    }\n"
        "  ]\n"
        "}'"
    )


def test_a_stream_is_not_buffered() -> None:
    assert to_curl({**BODY, "stream": True}, BASE).startswith("curl -N ")
    assert "-N" not in to_curl({**BODY, "stream": False}, BASE)


def test_no_key_ever_enters_a_command() -> None:
    secret = "sk-very-secret"
    for name, value in (("Authorization", f"Bearer {secret}"), ("api-key", secret), ("X-Api-Key", secret), ("cookie", secret)):
        command = to_curl(BODY, BASE, headers={name: value, "Content-Type": "text/x"}, key_variable="MY_KEY")
        assert secret not in command
        assert "$MY_KEY" in command
        assert command.count("Authorization") == (name == "Authorization")
        assert command.count("Content-Type") == 1


def test_a_server_without_a_key_needs_no_variable() -> None:
    assert "Authorization" not in to_curl(BODY, BASE, key_variable="")
    assert "$OPENAI_API_KEY" in to_curl(BODY, BASE, key_variable="", headers={"X-Api-Key": "x"})


# --- from curl


def parsed_url(url: str) -> tuple[str, str]:
    parsed = from_curl(f"curl {shlex.quote(url)} -d '{{}}'")
    return parsed.base_url, parsed.path


def test_addresses_are_split_at_the_endpoint() -> None:
    assert parsed_url("https://api.openai.com/v1/chat/completions") == ("https://api.openai.com/v1", "chat/completions")
    assert parsed_url("http://[::1]:11434/v1/embeddings") == ("http://[::1]:11434/v1", "embeddings")
    assert parsed_url("https://x.test/openai/v1/completions?api-version=1") == ("https://x.test/openai/v1", "completions?api-version=1")
    assert parsed_url("https://x.test/v1/models/gpt-4o") == ("https://x.test/v1", "models/gpt-4o")
    assert parsed_url("https://x.test/chat/completions") == ("https://x.test", "chat/completions")
    assert parsed_url("localhost:8000/v1") == ("http://localhost:8000/v1", "")


DOCUMENTED = """curl http://localhost:8000/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer token-abc123" \\
  -d '{
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "messages": [{"role": "user", "content": "Hello!"}],
    "stream": true
  }'
"""


def test_the_commands_of_documentation_are_understood() -> None:
    parsed = from_curl(DOCUMENTED)
    assert parsed.request.body["messages"] == [{"role": "user", "content": "Hello!"}]
    assert parsed.request.path == "chat/completions"
    assert (parsed.model, parsed.api_key, parsed.key_variable) == ("meta-llama/Llama-3.1-8B-Instruct", "token-abc123", "")
    assert "token-abc123" not in repr(parsed)


def test_a_command_without_a_body_is_a_backend_and_no_request() -> None:
    parsed = from_curl('curl http://localhost:8000/v1/models -H "Authorization: Bearer ${MY_KEY}"')
    assert (parsed.method, parsed.base_url, parsed.path, parsed.key_variable) == ("GET", BASE, "models", "MY_KEY")
    assert parsed.model == ""
    with pytest.raises(InputError, match="no body"):
        _ = parsed.request


@pytest.mark.parametrize(
    "options",
    [
        "-sSN -XPOST {url} -H'X-A: b' -d'{body}'",
        "--silent --no-buffer --request POST --url {url} --header 'X-A: b' --data-raw '{body}'",
        "-s {url} --json '{body}' -H 'X-A:b' --connect-timeout 5 --max-time 9 -o /dev/null -w '%{{http_code}}'",
        "--no-alpn --compressed --retry 3 --some-new-flag {url} -L --data-binary $'{body}' -H 'X-A: b' --another-flag -k",
        "{url} -H 'X-A: b' -H 'X-Gone:' -d @- <<EOF\n{body}\nEOF",
        "--fail-with-body -H 'X-A: b' -d '{body}' --some-new-flag {url}",
        "-H 'X-A: b' -d '{body}' {url} --last-flag",
    ],
)
def test_options_of_all_kinds_are_understood(options: str) -> None:
    parsed = from_curl("env X=1 curl " + options.format(url=f"{BASE}/chat/completions", body='{"model": "m"}'))
    assert (parsed.body, parsed.method) == ({"model": "m"}, "POST")
    assert (parsed.base_url, parsed.path, parsed.headers) == (BASE, "chat/completions", {"X-A": "b"})


def test_what_browsers_copy_is_understood() -> None:
    parsed = from_curl(
        "curl 'https://x.test/v1/chat/completions' -H 'accept: */*' -H 'api-key: k' -A 'Mozilla/5.0' -b 'a=b' "
        '--data-raw $\'{"messages":[{"role":"user","content":"it\\\'s\\u0021"}]}\' --compressed'
    )
    assert parsed.request.messages[0]["content"] == "it's!"
    assert (parsed.api_key, parsed.headers) == ("k", {"User-Agent": "Mozilla/5.0", "Cookie": "a=b"})


def test_basic_authentication_gives_the_password_as_the_key() -> None:
    assert from_curl(f"curl -u user:pass {BASE}/models").api_key == "pass"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("wget http://x.test", "not a curl command"),
        ("", "not a curl command"),
        ("curl", "no http address"),
        ("curl ftp://x.test/v1", "no http address"),
        ("curl http://[::1/v1", "no http address"),
        ("curl http://x.test -d @body.json", "reads its body from body.json"),
        ("curl http://x.test -d @", "reads its body from a file"),
        ("curl http://x.test -d @-", "reads its body from -"),
        ("curl http://x.test -F file=@x", "uploads a file"),
        ("curl http://x.test -d 'a=b'", "not JSON"),
        ("curl http://x.test -d '[1]'", "not a JSON object"),
        ("curl http://x.test -d", "not JSON"),
        ("curl http://x.test -d '" + "[" * 100_000 + "'", "not JSON"),
        ("curl http://x.test --data-raw", "not JSON"),
    ],
)
def test_what_cannot_be_read_says_why(command: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        from_curl(command)


@given(st.text(max_size=80))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    for command in (text, f"curl {text}"):
        with suppress(InputError):
            from_curl(command)
