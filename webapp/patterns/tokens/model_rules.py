"""Define the tokens that a model charges besides the text: for messages, names, tools, and images; and its text encoding.

The figures are OpenAI's published ones. For unpublished cases (models of other vendors, tool calls in the history, images of unknown size)
a number is an estimate, and `exact` is False.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")
DEFAULT_ENCODING = "o200k_base"

# The first prefix that fits wins, so longer ones stand before shorter ones.
_ENCODINGS: tuple[tuple[str, str], ...] = (
    ("gpt-oss", "o200k_harmony"),
    ("gpt-5", "o200k_base"),
    ("gpt-4.5", "o200k_base"),
    ("gpt-4.1", "o200k_base"),
    ("gpt-4o", "o200k_base"),
    ("chatgpt-4o", "o200k_base"),
    ("gpt-realtime", "o200k_base"),
    ("gpt-audio", "o200k_base"),
    ("codex-mini", "o200k_base"),
    ("computer-use", "o200k_base"),
    ("o1", "o200k_base"),
    ("o3", "o200k_base"),
    ("o4-mini", "o200k_base"),
    ("gpt-4", "cl100k_base"),
    ("gpt-3.5", "cl100k_base"),
    ("gpt-35", "cl100k_base"),
    ("text-embedding-3", "cl100k_base"),
    ("text-embedding-ada-002", "cl100k_base"),
    ("davinci-002", "cl100k_base"),
    ("babbage-002", "cl100k_base"),
)


@dataclass(frozen=True, slots=True)
class ToolRule:
    """Tokens around the parts of a tool's schema, as published for the two generations of models."""

    function: int = 7
    properties: int = 3
    key: int = 3
    enum: int = -3
    item: int = 3
    end: int = 12


@dataclass(frozen=True, slots=True)
class TileRule:
    """Images cost `base`, plus `tile` for each 512-pixel square after scaling into 2048 x 2048 and the short side to 768."""

    base: int = 85
    tile: int = 170

    def tokens(self, size: tuple[int, int] | None, *, low: bool) -> int:
        """Return the tokens of an image of `size` (width, height in pixels); the maximum for an unknown size."""
        if low:
            return self.base
        if size is None:
            return self.base + 8 * self.tile
        scale = min(1.0, 2048 / max(size))
        scale *= min(1.0, 768 / (min(size) * scale))
        width, height = (math.ceil(round(side * scale, 6) / 512) for side in size)
        return self.base + self.tile * width * height


@dataclass(frozen=True, slots=True)
class PatchRule:
    """Images cost one token for each 32-pixel square, at most `cap`, times `factor`."""

    factor: float
    cap: int = 1536

    def tokens(self, size: tuple[int, int] | None, *, low: bool) -> int:
        """Return the tokens of an image of `size` (width, height in pixels); the maximum for an unknown size."""
        if size is None:
            return math.ceil((256 if low else self.cap) * self.factor)
        patches = math.ceil(size[0] / 32) * math.ceil(size[1] / 32)
        return math.ceil(min(patches, 256 if low else self.cap) * self.factor)


_IMAGES: tuple[tuple[str, TileRule | PatchRule], ...] = (
    ("gpt-5-nano", PatchRule(2.46)),
    ("gpt-5-mini", PatchRule(1.62)),
    ("gpt-5", TileRule(70, 140)),
    ("gpt-4.1-nano", PatchRule(2.46)),
    ("gpt-4.1-mini", PatchRule(1.62)),
    ("o4-mini", PatchRule(1.72)),
    ("gpt-4o-mini", TileRule(2833, 5667)),
    ("o1", TileRule(75, 150)),
    ("o3", TileRule(75, 150)),
    ("computer-use", TileRule(65, 129)),
)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules for counting one model's tokens. `exact` is False if they can only be estimated."""

    encoding: str
    exact: bool
    per_message: int = 3
    per_name: int = 1
    priming: int = 3
    tool: ToolRule = ToolRule()
    image: TileRule | PatchRule = TileRule()


def base_name(model: str) -> str:
    """Return a model's own name without vendor, fine-tuning, and variant: `ft:gpt-4o:acme`, `openai/gpt-4o:free` -> `gpt-4o`."""
    name = model.strip().lower().rpartition("/")[2]
    return name.removeprefix("ft:").partition(":")[0]


def _fits(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and not name[len(prefix) : len(prefix) + 1].isalnum()


def _first(name: str, table: tuple[tuple[str, T], ...]) -> T | None:
    return next((value for prefix, value in table if _fits(name, prefix)), None)


@lru_cache(maxsize=1024)
def rules_for(model: str) -> Rules:
    """Return the rules of `model`. An unknown one is counted like the current generation and marked as an estimate."""
    name = base_name(model)
    encoding = _first(name, _ENCODINGS)
    if encoding is None:
        return Rules(DEFAULT_ENCODING, exact=False)
    old = encoding == "cl100k_base"
    if name == "gpt-3.5-turbo-0301":
        return Rules(encoding, exact=True, per_message=4, per_name=-1, tool=ToolRule(function=10))
    return Rules(
        encoding,
        exact=True,
        tool=ToolRule(function=10) if old else ToolRule(),
        image=_first(name, _IMAGES) or TileRule(),
    )
