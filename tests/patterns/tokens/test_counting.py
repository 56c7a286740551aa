"""Counting tokens offline: the vocabulary, text, messages, tools, images, pathological input."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import example, given, settings
from hypothesis import strategies as st

from webapp.patterns.errors import InputError
from webapp.patterns.tokens import counting
from webapp.patterns.tokens.counting import (
    Count,
    Counter,
    acount_messages,
    acount_text,
    check_messages,
    count_messages,
    count_text,
    counter_for,
    encoding_name,
    is_exact,
    is_quick,
    prepare_vocabulary,
)

O200K = "fb374d419588a4632f3f557e76b4b70aebbca790"
ONE_MEGABYTE = 1_000_000


def user(content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **fields}


# --- the vocabulary


def test_it_unpacks_the_vocabulary_where_tiktoken_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "elsewhere")
    prepare_vocabulary(tmp_path / "vocabulary")
    assert os.environ["TIKTOKEN_CACHE_DIR"] == str(tmp_path / "vocabulary")
    assert len(list((tmp_path / "vocabulary").iterdir())) == 2
    assert (tmp_path / "vocabulary" / O200K).stat().st_size == 3_613_922


def test_a_damaged_vocabulary_is_replaced_and_a_whole_one_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "elsewhere")
    prepare_vocabulary(tmp_path)
    good = hashlib.sha256((tmp_path / O200K).read_bytes()).hexdigest()
    os.utime(tmp_path / O200K, (1, 1))
    prepare_vocabulary(tmp_path)
    assert (tmp_path / O200K).stat().st_mtime == 1
    (tmp_path / O200K).write_bytes(b"half of it")
    prepare_vocabulary(tmp_path)
    assert hashlib.sha256((tmp_path / O200K).read_bytes()).hexdigest() == good


def test_it_says_what_to_install_when_the_vocabulary_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install bpe-openai"):
        prepare_vocabulary(tmp_path)


def test_it_counts_without_network_and_without_being_prepared(tmp_path: Path) -> None:
    """In a fresh process, with every socket refused and no cache folder named."""
    script = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise OSError('no network in this test')\n"
        "socket.socket.connect = socket.create_connection = refuse\n"
        "from webapp.patterns.tokens.counting import count_text\n"
        "assert 'tiktoken' not in sys.modules\n"
        "print(count_text('Hello, how are you?', 'gpt-4o'), count_text('Hello, how are you?', 'gpt-4'))\n"
        "assert 'bpe_openai' not in sys.modules\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("TIKTOKEN_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout.split(), done.stderr) == (["6", "6"], "")


# --- text


@pytest.mark.parametrize(
    ("model", "encoding", "exact"),
    [
        ("gpt-4o", "o200k_base", True),
        ("gpt-4o-mini-2024-07-18", "o200k_base", True),
        ("chatgpt-4o-latest", "o200k_base", True),
        ("gpt-4.1-nano", "o200k_base", True),
        ("gpt-5", "o200k_base", True),
        ("gpt-5.1-codex", "o200k_base", True),
        ("o1", "o200k_base", True),
        ("o3-mini", "o200k_base", True),
        ("o4-mini-2025-04-16", "o200k_base", True),
        ("gpt-oss:20b", "o200k_harmony", True),
        ("openai/gpt-oss-120b", "o200k_harmony", True),
        ("openai/gpt-4o:free", "o200k_base", True),
        ("ft:gpt-4o-mini:acme::abc", "o200k_base", True),
        ("ft:gpt-3.5-turbo:acme::abc", "cl100k_base", True),
        ("GPT-4-Turbo", "cl100k_base", True),
        ("gpt-4", "cl100k_base", True),
        ("gpt-35-turbo", "cl100k_base", True),
        ("text-embedding-3-small", "cl100k_base", True),
        ("llama-3.1-8b", "o200k_base", False),
        ("gpt-4all-falcon", "o200k_base", False),
        ("o1x", "o200k_base", False),
        ("", "o200k_base", False),
    ],
)
def test_it_knows_the_encodings_of_model_families(model: str, encoding: str, exact: bool) -> None:
    assert (encoding_name(model), is_exact(model)) == (encoding, exact)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4", "gpt-3.5-turbo", "text-embedding-3-large", "gpt-5", "gpt-oss-20b"])
def test_it_agrees_with_tiktoken(model: str) -> None:
    text = "Tokens: naïve café — 東京 😀 <|endoftext|> don't 12345\n\n\tdef f(x): return x ** 2"
    assert count_text(text, model) == len(tiktoken.encoding_for_model(model).encode(text, disallowed_special=()))


WORDS = st.text(st.sampled_from("abc ABC.'\n\t 12é東😀_-\u0301"), max_size=80)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=6), st.integers(20, 60), st.sampled_from(["gpt-4o", "gpt-4"]))
@example(["don't stop\nnow I've 1234 "], 30, "gpt-4o")
def test_pieces_of_a_long_text_with_words_add_up_to_the_whole(parts: list[str], times: int, model: str) -> None:
    """A text is cut only between two words, where the tokenizer would cut it too."""
    text = (" some plain words between " * 20).join(parts) * times
    whole = len(tiktoken.encoding_for_model(model).encode_ordinary(text))
    assert Counter(encoding_name(model)).text(text) == whole


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=100), st.integers(1, 600))
def test_any_text_is_cut_into_bounded_pieces_that_are_all_of_it(text: str, times: int) -> None:
    pieces = list(counting._pieces(text * times))
    assert "".join(pieces) == text * times
    assert max(map(len, pieces)) <= counting.PIECE
    assert len(pieces) <= len(text * times) // (counting.PIECE - 512) + 1


async def longest_wait_while(counting: asyncio.Future[int]) -> float:
    """Seconds between two turns of the event loop, at most, until the counting is done."""
    longest, last = 0.0, time.perf_counter()
    while not counting.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest


@pytest.mark.parametrize("unit", ["a", " ", "\t", "\n", "=", "😀", "é", "1", " a", "\ud800"])
async def test_a_megabyte_of_one_letter_never_blocks_the_loop(unit: str) -> None:
    """Counted in a thread, in pieces: tiktoken itself panics on a megabyte of spaces. The best of some tries: the machine may be busy."""
    await acount_text("warm", "gpt-4o")
    waits = []
    for attempt in range(5):
        text = unit * (ONE_MEGABYTE // len(unit.encode(errors="surrogatepass"))) + str(attempt)
        counting = asyncio.ensure_future(acount_text(text, "gpt-4o"))
        waits.append(await longest_wait_while(counting))
        assert 0 < await counting <= ONE_MEGABYTE + 1
        if waits[-1] < 0.05:
            break
    assert min(waits) < 0.05


async def test_short_and_known_texts_are_counted_on_the_loop_and_long_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Any] = []

    async def to_thread(function: Any, *arguments: Any) -> Any:
        threads.append(function)
        return function(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    count_text("load", "gpt-4o")
    text = "off the loop " * 5000
    assert await acount_text("short", "gpt-4o") == 1
    assert threads == []
    first = await acount_text(text, "gpt-4o")
    assert threads == [count_text]
    assert await acount_text(text, "gpt-4o") == first
    long = [user("a longer history " * 1000 + str(number)) for number in range(4)]
    assert await acount_messages(long, "gpt-4o") == count_messages(long, "gpt-4o")
    assert threads == [count_text, count_messages]
    await acount_messages(long, "gpt-4o")
    assert len(threads) == 2


async def test_a_vocabulary_is_never_loaded_on_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = Counter("o200k_base")
    threads: list[str] = []

    def load(name: str) -> tiktoken.Encoding:
        threads.append(threading.current_thread().name)
        return tiktoken.get_encoding(name)

    monkeypatch.setattr(counting, "counter_for", lambda model: fresh)
    monkeypatch.setattr(counting, "_encoding", load)
    assert not is_quick([user("Hi")], "gpt-4o")
    assert await acount_text("Hello, how are you?", "gpt-4o") == 6
    assert threads
    assert "MainThread" not in threads
    assert is_quick([user("Hi")], "gpt-4o")


def test_a_text_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter("o200k_base")
    text = "counted once, however often it is asked for"
    first = counter.text(text)
    monkeypatch.setattr(counting, "_encoding", lambda name: pytest.fail("counted again"))
    assert counter.text(text) == first


def test_a_stored_count_is_taken_as_it_is() -> None:
    counter = Counter("o200k_base")
    counter.remember("a text that was counted before the restart", 4711)
    assert counter.text("a text that was counted before the restart") == 4711
    assert counter.knows("a text that was counted before the restart")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_REMEMBERED", 100)
    counter = Counter("o200k_base")
    for number in range(1000):
        counter.remember(f"text {number}", number)
        assert len(counter.known) <= 100
    assert counter.knows("text 999")
    assert not counter.knows("text 1")


def test_models_that_share_an_encoding_share_their_counts() -> None:
    assert counter_for("gpt-4o") is counter_for("gpt-oss-20b") is counter_for("a model of its own")
    assert counter_for("gpt-4o") is not counter_for("gpt-4")


# --- messages


def test_it_counts_a_conversation_as_openai_does() -> None:
    """The example of OpenAI's cookbook, with the figures that its API reported: 129 for gpt-4, 124 for gpt-4o."""
    system = "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."
    lines = [
        ("example_user", "New synergies will help drive top-line growth."),
        ("example_assistant", "Things working well together will increase revenue."),
        (
            "example_user",
            "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
        ),
        ("example_assistant", "Let's talk later when we're less busy about how to do better."),
    ]
    late = "This late pivot means we don't have time to boil the ocean for the client deliverable."
    messages = [{"role": "system", "content": system}, *({"role": "system", "name": n, "content": c} for n, c in lines), user(late)]
    assert count_messages(messages, "gpt-4") == Count(129, exact=True)
    assert count_messages(messages, "gpt-4o") == Count(124, exact=True)
    assert count_messages(messages, "gpt-3.5-turbo-0301") == Count(127, exact=True)


def test_an_unknown_model_is_estimated_and_said_to_be() -> None:
    assert count_messages([user("Hello")], "gpt-4o") == Count(8, exact=True)
    assert count_messages([user("Hello")], "llama-3.1-8b") == Count(8, exact=False)


def test_counts_add_up_and_one_estimate_makes_the_sum_one() -> None:
    assert Count(1, exact=True) + Count(2, exact=True) == Count(3, exact=True)
    assert Count(1, exact=True) + Count(2, exact=False) == Count(3, exact=False)


def test_tool_calls_in_the_history_count_and_are_estimates() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    counted = count_messages([asked], "gpt-4o")
    assert counted.exact is False
    assert counted.tokens > count_messages([{"role": "assistant", "content": None}], "gpt-4o").tokens + 8
    assert count_messages([{**asked, "tool_calls": [{}]}], "gpt-4o").tokens < counted.tokens


def test_refusals_and_unknown_parts_count() -> None:
    assert count_messages([{"role": "assistant", "content": None, "refusal": "I cannot help with that."}], "gpt-4o").tokens == 13
    audio = count_messages([user([{"type": "input_audio", "input_audio": {"data": "A" * 40_000}}])], "gpt-4o")
    assert (audio.exact, audio.tokens > 150) == (False, True)


TOOL = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                "unit": {"type": "string", "description": "The unit of temperature to return", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["location"],
        },
    },
}
ASKED = [
    {"role": "system", "content": "You are a helpful assistant that can answer to questions about the weather."},
    user("What's the weather like in San Francisco?"),
]


def test_tools_count_as_openai_counts_them() -> None:
    """The example of OpenAI's cookbook: 101 for gpt-4o, 105 for gpt-4, as reported by its API."""
    assert count_messages(ASKED, "gpt-4o", [TOOL]) == Count(101, exact=True)
    assert count_messages(ASKED, "gpt-4", [TOOL]) == Count(105, exact=True)


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "custom", "custom": {"name": "shell"}},
        {"function": {"name": "f", "parameters": {"properties": "x"}}},
        {"function": {"name": "f", "parameters": 3}},
        {"function": "f"},
        "f",
        {"function": {"name": "f", "parameters": {"properties": {"x": {"type": "array", "items": {"type": "string"}}}}}},
        {"function": {"name": "f", "parameters": {"properties": {"x": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}}},
        {"function": {"name": "f", "parameters": {"properties": {"x": True}}}},
    ],
)
def test_tools_beyond_the_published_rule_are_estimated(tool: Any) -> None:
    counted = count_messages([user("Hi")], "gpt-4o", [tool])
    assert counted.exact is False
    assert counted.tokens > 20


def test_a_tool_without_parameters_and_a_tool_for_an_unknown_model_count() -> None:
    bare = {"type": "function", "function": {"name": "now"}}
    assert count_messages([user("Hi")], "gpt-4o", [bare]) == Count(8 + 7 + 2 + 12, exact=True)
    assert count_messages([user("Hi")], "llama-3.1-8b", [TOOL]).tokens > 100


# --- malformed


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("hello", "messages[1].role"),
        ({"content": "hello"}, "messages[1].role"),
        ({"role": 3, "content": "hello"}, "messages[1].role"),
        ({"role": "user", "content": 3}, "messages[1].content"),
        ({"role": "user", "content": ["hello"]}, "messages[1].content"),
        ({"role": "user", "content": {"type": "text"}}, "messages[1].content"),
        ({"role": "assistant", "tool_calls": "f"}, "messages[1].tool_calls"),
        ({"role": "assistant", "tool_calls": [{"function": "f"}]}, "messages[1].tool_calls"),
    ],
)
def test_a_malformed_message_is_the_callers_error_and_named(message: Any, param: str) -> None:
    """FAULTS 23: wrong types are a clear 4xx, not a 500."""
    for refuse in (check_messages, count_messages):
        with pytest.raises(InputError) as caught:
            refuse([user("fine"), message])
        assert caught.value.param == param


def test_parts_and_calls_decide_whether_counting_is_quick() -> None:
    long = "never counted before " * 4000
    assert is_quick([user([{"type": "text", "text": "short"}, {"type": "image_url"}])], "gpt-4o")
    assert not is_quick([user([{"type": "text", "text": long}])], "gpt-4o")
    assert not is_quick([{"role": "assistant", "tool_calls": [{"function": {"arguments": long}}]}], "gpt-4o")
