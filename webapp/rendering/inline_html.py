"""The HTML elements that models write into Markdown because it has no mark for them: `<br>`, `<sub>`, `<sup>`, `<kbd>`, `<mark>`, `<u>`.

Only these, only without attributes, and only in pairs; all other HTML is shown as text.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

_BREAK = re.compile(r"<br[ \t]*/?>", re.IGNORECASE)
_PAIR = re.compile(r"<(sub|sup|kbd|mark|u)>", re.IGNORECASE)
_MAX_CHARS = 500
"""How far the closing tag may be: openers without one must not scan the whole text each."""


def inline_html(md: MarkdownIt) -> None:
    """Add the rule of this module to a parser."""
    md.inline.ruler.before("autolink", "inline_html", _inline_html)


def _inline_html(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - markdown-it's signature
    if state.src[state.pos] != "<":
        return False
    if found := _BREAK.match(state.src, state.pos, state.posMax):
        if not silent:
            state.push("hardbreak", "br", 0)
        state.pos = found.end()
        return True
    found = _PAIR.match(state.src, state.pos, state.posMax)
    return _pair(state, found, silent=silent) if found else False


def _pair(state: StateInline, found: re.Match[str], *, silent: bool) -> bool:
    tag = found[1].lower()
    closing = f"</{tag}>"
    end = state.src[: min(state.posMax, found.end() + _MAX_CHARS)].lower().find(closing, found.end())
    if end < 0:
        return False
    limit = state.posMax
    if not silent:
        state.push("inline_html_open", tag, 1)
        state.pos, state.posMax = found.end(), end
        state.md.inline.tokenize(state)
        state.push("inline_html_close", tag, -1)
    state.pos, state.posMax = end + len(closing), limit
    return True
