"""Markdown to safe HTML: CommonMark with tables, task lists, footnotes, math and bare links; raw HTML is shown as text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin
from mdit_py_plugins.gfm_autolink import gfm_autolink_plugin

from webapp.rendering.bounds import bounded_inline, bounded_table
from webapp.rendering.highlight import Budget, highlight
from webapp.rendering.mathml import to_mathml
from webapp.rendering.sanitize import clean
from webapp.rendering.tasks import task_lists

MAX_CHARS = 500_000
MAX_MATH_CHARS = 4000
_BRACKETS = {"\\(": ("\\)", "math_inline"), "\\[": ("\\]", "math_inline_double")}


def render(text: str, *, anchor: str = "") -> str:
    """`text` as safe HTML.

    Args:
        anchor: letters, digits and dashes that make the ids of footnotes unique on a page.
    """
    if len(text) > MAX_CHARS:
        return f"<pre>{escape(text, quote=False)}</pre>"
    return clean(parser(footnotes=True).render(text, {"docId": anchor} if anchor else {}))


@lru_cache(maxsize=2)
def parser(*, footnotes: bool) -> MarkdownIt:
    """The parser. Streams use one without footnotes: their text may come long after the reference."""
    md = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    md.use(gfm_autolink_plugin)
    md.core.ruler.at("inline", bounded_inline)
    md.core.ruler.after("inline", "task_lists", task_lists)
    md.block.ruler.at("table", bounded_table, {"alt": ["paragraph", "reference"]})
    md.use(dollarmath_plugin, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    md.inline.ruler.before("escape", "bracket_math", _bracket_math)
    if footnotes:
        md.use(footnote_plugin)
    for name, rule in _RULES.items():
        md.add_render_rule(name, rule)
    return md


def _bracket_math(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - markdown-it's signature
    r"""`\(x\)` and `\[x\]`, as most models write math."""
    opener = state.src[state.pos : state.pos + 2]
    if opener not in _BRACKETS:
        return False
    closer, kind = _BRACKETS[opener]
    # Not further than a formula may be long: else thousands of openers would each scan the whole text for a closer.
    end = state.src.find(closer, state.pos + 2, min(state.posMax, state.pos + 2 + MAX_MATH_CHARS))
    if end < 0:
        return False
    if not silent:
        token = state.push(kind, "math", 0)
        token.content = state.src[state.pos + 2 : end].strip()
    state.pos = end + 2
    return True


def _fence(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, env: Any) -> str:
    token = tokens[index]
    language = token.info.strip().split(maxsplit=1)[0] if token.info.strip() else ""
    return code_block(highlight(token.content, language, env.setdefault("colors", Budget())), language)


def code_block(inner: str, language: str = "") -> str:
    """A code block around `inner` (safe HTML), with its language and a copy button."""
    head = f'<span class="code-language">{escape(language[:40])}</span><button type="button" data-copy="code">Copy</button>'
    return f'<div class="code"><div class="code-head">{head}</div><pre tabindex="0"><code>{inner}</code></pre></div>\n'


def _image(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: Any) -> str:
    """A link in the image's place: nothing is fetched that the reader did not ask for."""
    token = tokens[index]
    source = str(token.attrs.get("src", ""))
    return f'<a class="image-link" target="_blank" href="{escape(source)}">Image: {escape(token.content or source)}</a>'


def _aligned(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: Any) -> str:
    style = str(tokens[index].attrs.pop("style", ""))
    if style.startswith("text-align:"):
        tokens[index].attrSet("class", "align-" + style.removeprefix("text-align:"))
    return self.renderToken(tokens, index, options, env)


def _link(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: Any) -> str:
    tokens[index].attrSet("target", "_blank")
    return self.renderToken(tokens, index, options, env)


def _math_inline(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: Any) -> str:
    return to_mathml(tokens[index].content, display=False)


def _math_block(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: Any) -> str:
    return to_mathml(tokens[index].content.strip(), display=True)


_RULES: dict[str, Any] = {
    "fence": _fence,
    "code_block": _fence,
    "image": _image,
    "link_open": _link,
    "th_open": _aligned,
    "td_open": _aligned,
    "math_inline": _math_inline,
    "math_inline_double": _math_block,
    "math_block": _math_block,
}
