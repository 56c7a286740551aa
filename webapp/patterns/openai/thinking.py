"""Tell reasoning from answer where a model writes both into its content: `<think>` tags, and content parts of type thinking."""

from __future__ import annotations

import re
from typing import Any, Final

_PAIRS: Final = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
)
_OPENINGS: Final = dict(_PAIRS)
_LONGEST: Final = max(map(len, _OPENINGS))
_LONE_CLOSING: Final = "</think>"
_REASONING_PARTS: Final = frozenset({"thinking", "reasoning", "reasoning_text", "summary_text"})
_LONGEST_WITHOUT_OPENING: Final = 20_000
"""Pieces of an answer after which a closing tag without an opening one is part of the answer."""
_CODE: Final = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)

Pieces = tuple[str, str, bool]
"""(reasoning, text, whether all text before was reasoning)."""


class ThinkSplitter:
    """Splits the content of one choice as it comes. The split is the same however the content is cut.

    Reasoning stands at the beginning, in tags. Some servers leave the opening tag out, since their prompt ends with it: then the closing
    tag, on a line of its own, says that everything before it was reasoning. A tag anywhere else is part of the answer.
    """

    __slots__ = ("_closing", "_held", "_state", "is_text", "said")

    def __init__(self) -> None:
        self._state = "start"
        self._closing = ""
        self._held = ""
        self.is_text = False
        """The answer has begun, and nothing is held back: a piece without "<" is text as it is."""
        self.said: list[str] | None = []
        """The pieces of the answer, as long as a closing tag without an opening one may come."""

    def feed(self, content: str) -> Pieces:
        """Return what this piece of content adds."""
        if self.is_text and "<" not in content:
            self.note(content)
            return "", content, False
        reasoning, text, was_reasoning = "", "", False
        rest, self._held = self._held + content, ""
        while rest:
            if self._state == "start":
                rest = self._start(rest)
            elif self._state == "reasoning":
                added, rest = self._inside(rest)
                reasoning += added
            else:
                added, rest, turned = self._outside(rest)
                if turned:
                    reasoning, text, was_reasoning = reasoning + text + added, "", True
                else:
                    text += added
            if self._held:
                break
        self.is_text = self._state == "text" and not self._held
        return reasoning, text, was_reasoning

    def close(self) -> Pieces:
        """Return what was held back as the possible beginning of a tag."""
        held, self._held = self._held, ""
        return (held, "", False) if self._state == "reasoning" else ("", held, False)

    def _start(self, rest: str) -> str:
        stripped = rest.lstrip()
        if not stripped or (len(stripped) < _LONGEST and any(tag.startswith(stripped) for tag in _OPENINGS)):
            self._held = rest
            return ""
        for opening, closing in _OPENINGS.items():
            if stripped.startswith(opening):
                self._state, self._closing = "reasoning", closing
                return stripped[len(opening) :].lstrip("\n")
        self._state = "text"
        return rest

    def _inside(self, rest: str) -> tuple[str, str]:
        before, found, after = rest.partition(self._closing)
        if found:
            self._state = "after"
            return before.rstrip("\n"), after
        keep = _possible_beginning(rest, self._closing)
        shown = rest[: len(rest) - keep].rstrip("\n")
        self._held = rest[len(shown) :]
        return shown, ""

    def _outside(self, rest: str) -> tuple[str, str, bool]:
        if self._state == "after":
            return self._after(rest)
        if self.said is None:
            return rest, "", False
        before, found, after = rest.partition(_LONE_CLOSING)
        if not found:
            keep = _possible_beginning(rest, _LONE_CLOSING)
            shown, self._held = rest[: len(rest) - keep], rest[len(rest) - keep :]
            self.note(shown)
            return shown, "", False
        said = "".join(self.said) + before
        self.said = None
        if (not said.strip(" ") or said.rstrip(" ").endswith("\n")) and len(_CODE.findall(said)) % 2 == 0:
            self._state = "after"
            return before.rstrip("\n"), after, True
        return before + found, after, False

    def note(self, text: str) -> None:
        """Note a piece of the answer."""
        if self.said is not None:
            self.said.append(text)
            if len(self.said) > _LONGEST_WITHOUT_OPENING:
                self.said = None

    def _after(self, rest: str) -> tuple[str, str, bool]:
        """Go on after a closing tag: leave out the empty lines before the answer; another block of reasoning may follow."""
        stripped = rest.lstrip()
        if not stripped or (len(stripped) < _LONGEST and any(tag.startswith(stripped) for tag in _OPENINGS)):
            self._held = stripped
            return "", "", False
        if any(stripped.startswith(opening) for opening in _OPENINGS):
            self._state = "start"
            return "", stripped, False
        self._state, self.said = "text", None
        return "", stripped, False


def _possible_beginning(text: str, tag: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of `tag`."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-size:])), 0)


def split_whole(content: str) -> tuple[str, str]:
    """Return the reasoning and the answer in a whole content."""
    splitter = ThinkSplitter()
    reasoning, text, _ = splitter.feed(content)
    more, rest, _ = splitter.close()
    return reasoning + more, text + rest


def split_parts(parts: list[Any]) -> tuple[str, str]:
    """Return the reasoning and the answer in a list of content parts."""
    reasoning, text = "", ""
    for part in parts:
        if isinstance(part, dict) and part.get("type") in _REASONING_PARTS:
            reasoning += text_of(part.get("thinking") or part.get("reasoning") or part.get("text") or part.get("summary"))
        else:
            text += text_of(part)
    return reasoning, text


def text_of(value: Any) -> str:
    """Return the text in content that came as parts, or not as text at all."""
    if isinstance(value, list):
        return "".join(text_of(part) for part in value)
    if isinstance(value, dict):
        return text_of(value.get("text") if "text" in value else value.get("content"))
    return value if isinstance(value, str) else ""


def reasoning_of(body: dict[str, Any]) -> str:
    """Return the reasoning in the fields of a delta or message: `reasoning_content`, `reasoning`, `reasoning_details`, `thinking`."""
    for name in ("reasoning_content", "reasoning", "thinking"):
        value = body.get(name)
        if value:
            return (
                value if isinstance(value, str) else split_parts(value)[0] or text_of(value) if isinstance(value, list) else text_of(value)
            )
    details = body.get("reasoning_details")
    if isinstance(details, list):
        return "".join(str(part.get("text") or part.get("summary") or "") for part in details if isinstance(part, dict))
    return ""
