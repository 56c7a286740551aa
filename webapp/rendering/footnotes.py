"""Footnotes: `[^1]` and `[^1]: text`. A note is drawn where it is written, so that a stream can draw it before the text has ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from mdit_py_plugins.footnote import footnote_plugin


def footnotes(md: MarkdownIt) -> None:
    """Add footnotes to a parser. `env["anchor"]` makes their ids unique on a page."""
    md.use(footnote_plugin, inline=False, move_to_end=False)
    md.add_render_rule("footnote_ref", _reference)
    md.add_render_rule("footnote_reference_open", _open)
    md.add_render_rule("footnote_reference_close", _close)


def _name(token: Token, env: Any) -> str:
    label = re.sub(r"[^\w-]", "-", str(token.meta["label"]))
    return f"{env.get('anchor', '')}-{label}".removeprefix("-")


def _reference(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, env: Any) -> str:
    token = tokens[index]
    name, label = _name(token, env), escape(str(token.meta["label"]))
    anchor = f' id="fnref-{name}"' if not token.meta["subId"] else ""
    return f'<sup class="footnote-ref"><a href="#fn-{name}"{anchor}>[{label}]</a></sup>'


def _open(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, env: Any) -> str:
    token = tokens[index]
    name, label = _name(token, env), escape(str(token.meta["label"]))
    return f'<div class="footnote" id="fn-{name}"><a class="footnote-backref" href="#fnref-{name}">{label}</a>'


def _close(_self: RendererHTML, _tokens: Sequence[Token], _index: int, _options: OptionsDict, _env: Any) -> str:
    return "</div>\n"
