"""Highlighted code, as spans with short classes (`hl-k`, `hl-s`, …); the colors are in static/css/prose.css."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any

MAX_CHARS = 100_000
MAX_LINE = 2000
"""Lexers look for the end of what they recognize in the line: some take its length squared."""


@dataclass(slots=True)
class Budget:
    """What is left of the time that the colors of one text may take, in seconds."""

    seconds: float = 0.5


@lru_cache(maxsize=128)
def _lexer(language: str) -> Any:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


@lru_cache(maxsize=1)
def _formatter() -> Any:
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(nowrap=True, classprefix="hl-")


def highlight(code: str, language: str, budget: Budget | None = None) -> str:
    """`code` as escaped HTML, with spans where the language is known and the colors take neither too much space nor too much time."""
    modest = len(code) <= MAX_CHARS and max(map(len, code.split("\n"))) <= MAX_LINE
    lexer = _lexer(language.lower()) if language and modest else None
    colors = _colors(code, lexer, budget or Budget()) if lexer else None
    return escape(code, quote=False) if colors is None else colors


def _colors(code: str, lexer: Any, budget: Budget) -> str | None:
    """Return the HTML, or None when the budget ran out first."""
    import pygments

    began = time.perf_counter()
    tokens = []
    for token in lexer.get_tokens(code):
        if time.perf_counter() - began > budget.seconds:
            budget.seconds = 0.0
            return None
        tokens.append(token)
    html = str(pygments.format(tokens, _formatter()))
    budget.seconds -= time.perf_counter() - began
    return html
