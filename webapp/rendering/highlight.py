"""Highlighted code, as spans with short classes (`hl-k`, `hl-s`, …); the colours are in static/css/prose.css."""

from __future__ import annotations

from functools import lru_cache
from html import escape
from typing import Any

MAX_CHARS = 100_000


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


def highlight(code: str, language: str) -> str:
    """`code` as escaped HTML, with spans where the language is known and the code is not enormous."""
    lexer = _lexer(language.lower()) if language and len(code) <= MAX_CHARS else None
    if lexer is None:
        return escape(code, quote=False)
    import pygments

    return str(pygments.highlight(code, lexer, _formatter()))
