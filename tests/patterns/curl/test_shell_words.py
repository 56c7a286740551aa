"""Words of a shell command: as bash splits them."""

from __future__ import annotations

import shlex
import subprocess
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.patterns.curl.shell_words import HEREDOC, split
from webapp.patterns.errors import InputError


def in_bash(command: str) -> list[str]:
    """The words that bash itself makes of it."""
    script = f"show() {{ printf '%s\\0' \"$@\"; }}; show {command}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    )
    return done.stdout.decode(errors="surrogateescape").split("\0")[:-1]


@pytest.mark.parametrize(
    "command",
    [
        "one two  three",
        "'single quoted' \"double quoted\" bare\\ space",
        "'it'\\''s' \"say \\\"hi\\\" for \\$5 at \\`noon\\` \\\\ \\x\"",
        "glued'to'\"gether\"",
        "''  \"\" last",
        "one \\\n  two \\\n\tthree",
        "\"line one\\\nstill\" 'kept \\\n as is'",
        "\"two\nlines\" 'two\nlines'",
        r"$'tab\there\nnew \'quote\' \\ back \x41\u00e9\U0001F600 \101\e[0m \q'",
        "a#b 'c' # a comment",
        "~x=y @file %20 a,b {} [x] !",
        "trailing\\",
    ],
)
def test_it_splits_as_bash_does(command: str) -> None:
    assert split(command) == in_bash(command)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.sampled_from("ab '\"\\\n\t$`é!"), max_size=12), min_size=1, max_size=5))
def test_it_reads_back_whatever_was_quoted(words: list[str]) -> None:
    assert split(shlex.join(words)) == words or shlex.join(words).startswith(("$ ", "% ", "> ", "# "))


@pytest.mark.parametrize("rest", ["; rm -rf /", "| jq .", "&& echo", "> out.json", "\nnext command", " # note"])
def test_it_ends_where_the_command_does(rest: str) -> None:
    assert split(f"curl 'a' {rest}")[:2] == ["curl", "a"]
    assert "rm" not in split(f"curl 'a' {rest}")


def test_a_character_that_does_not_exist_is_replaced() -> None:
    assert split(r"$'\UFFFFFFFF'") == ["\ufffd"]


def test_a_prompt_is_left_out() -> None:
    assert split("$ curl x") == ["curl", "x"]
    assert split("  > curl x") == ["curl", "x"]


def test_windows_line_ends_and_carets_are_understood() -> None:
    assert split("curl x \\\r\n -d y") == ["curl", "x", "-d", "y"]
    assert split('curl ^"http://x/^" ^\r\n  -d "{^\\^"a^\\^":1}"') == ["curl", "http://x/", "-d", '{"a":1}']


def test_a_here_document_is_the_last_word() -> None:
    assert split("curl -d @- <<'EOF' x\n{\n \"a\": 1\n}\nEOF\nrest") == ["curl", "-d", "@-", HEREDOC, '{\n "a": 1\n}']
    assert split("cat \0heredoc") == ["cat", "heredoc"]
    assert split("cat<<-END\n\tx\n\tEND") == ["cat", HEREDOC, "\tx"]
    assert split("curl <file x") == ["curl", "<file", "x"]


@pytest.mark.parametrize("broken", ["curl 'x", 'curl "x', "curl $'x", 'curl "x\\'])
def test_a_quote_that_is_not_closed_is_named(broken: str) -> None:
    with pytest.raises(InputError, match="not closed"):
        split(broken)


@given(st.text(max_size=60))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    with suppress(InputError):
        assert all(isinstance(word, str) for word in split(text))
