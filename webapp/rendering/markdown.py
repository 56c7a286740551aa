"""Markdown to safe HTML: CommonMark with tables, task lists, footnotes, formulas and bare links; raw HTML is shown as text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from webapp.rendering.bounds import bounded_inline, bounded_table
from webapp.rendering.code import code_block
from webapp.rendering.footnotes import footnotes
from webapp.rendering.formulas import formulas
from webapp.rendering.highlight import Budget, highlight
from webapp.rendering.inline_html import inline_html
from webapp.rendering.links import links
from webapp.rendering.mathml import to_mathml
from webapp.rendering.outline import directions, outline
from webapp.rendering.sanitize import clean
from webapp.rendering.tasks import task_lists

MAX_CHARS = 500_000

Env = dict[str, Any]
"""What a place in a text inherits from the text before it: link definitions, the outline, and what is used up of the bounds."""


class Group(NamedTuple):
    """A top-level block: the lines it stands on, from `start` to before `end`, and its tokens."""

    start: int
    end: int
    tokens: list[Token]


def render(text: str, *, anchor: str = "") -> str:
    """Return `text` as safe HTML.

    Args:
        anchor: letters, digits and dashes that make the ids of footnotes unique on a page.
    """
    return "".join(render_blocks(text, anchor=anchor))


def render_blocks(text: str, *, anchor: str = "") -> list[str]:
    """Return the top-level blocks of `text` as safe HTML each."""
    if len(text) > MAX_CHARS:
        return [f"<pre>{escape(text, quote=False)}</pre>"]
    env: Env = {"anchor": anchor}
    return [html_of(group.tokens, env) for group in parse(text, env)]


def parse(text: str, env: Env) -> list[Group]:
    """Return the top-level blocks of a text; `env` goes on with what the text defines and uses up."""
    groups: list[Group] = []
    depth = 0
    for token in _parser().parse(text, env):
        if depth == 0 and token.nesting >= 0:
            start, end = token.map or (0, 0)
            groups.append(Group(start, end, []))
        groups[-1].tokens.append(token)
        depth += token.nesting
    return groups


def html_of(tokens: list[Token], env: Env) -> str:
    """Return the safe HTML of a block's tokens."""
    md = _parser()
    return clean(str(md.renderer.render(tokens, md.options, env)))


@cache
def _parser() -> MarkdownIt:
    md = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    md.core.ruler.at("inline", bounded_inline)
    md.core.ruler.after("inline", "task_lists", task_lists)
    md.core.ruler.push("outline", outline)
    md.core.ruler.push("directions", directions)
    md.block.ruler.at("table", bounded_table, {"alt": ["paragraph", "reference"]})
    for extension in (links, inline_html, formulas, footnotes):
        md.use(extension)
    for name, rule in _RULES.items():
        md.add_render_rule(name, rule)
    return md


def _fence(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, env: Any) -> str:
    token = tokens[index]
    language = token.info.strip().split(maxsplit=1)[0] if token.info.strip() else ""
    if language == "math":
        return f"<p>{to_mathml(token.content.strip(), display=True)}</p>\n"
    return code_block(highlight(token.content, language, env.setdefault("colors", Budget())), language)


def _image(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: Any) -> str:
    """Draw a link in the image's place: nothing is fetched that the reader did not ask for."""
    token = tokens[index]
    source = str(token.attrs.get("src", ""))
    return f'<a class="image-link" target="_blank" href="{escape(source)}">Image: {escape(token.content or source)}</a>'


def _aligned(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: Any) -> str:
    style = str(tokens[index].attrs.pop("style", ""))
    if style.startswith("text-align:"):
        tokens[index].attrSet("class", "align-" + style.removeprefix("text-align:"))
    return self.renderToken(tokens, index, options, env)


def _formula(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: Any) -> str:
    token = tokens[index]
    if token.hidden:  # beyond the bound on formulas
        return f'<code class="math-source">{escape(token.content, quote=False)}</code>'
    html = to_mathml(token.content, display=token.type != "math_inline")
    return f"<p>{html}</p>\n" if token.block else html


def _pending(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: Any) -> str:
    """Draw a formula that is still being written."""
    return f'<p><code class="math-source">{escape(tokens[index].content, quote=False)}</code></p>\n'


_RULES: dict[str, Any] = {
    "fence": _fence,
    "code_block": _fence,
    "image": _image,
    "th_open": _aligned,
    "td_open": _aligned,
    "math_inline": _formula,
    "math_display": _formula,
    "math_block": _formula,
    "math_pending": _pending,
}
