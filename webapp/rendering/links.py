"""Links: bare addresses in every script, and link text that names another place than the link leads to."""

from __future__ import annotations

import re
from html import escape
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.gfm_autolink import gfm_autolink_plugin

from webapp.rendering.scripts import UNSPACED, is_unspaced

_SCHEME = re.compile(r"https?\Z", re.IGNORECASE)
_HOST = r"(?:localhost|\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*)(?::\d{1,5})?"
# A letter of a script without spaces ends an address unless it begins a segment, as in zh.wikipedia.org/wiki/中文.
_PATH = rf"(?:[/?#](?:[^\s<>{UNSPACED}]|(?<=[/=#&?])[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]+)*)?"
_ADDRESS = re.compile(rf"://{_HOST}{_PATH}", re.IGNORECASE)
_WWW = re.compile(rf"www\.[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::\d{{1,5}})?{_PATH}", re.IGNORECASE)
_TRAILING = "?!.,:;*_~'\"|`"
_NAMES_HOST = re.compile(r"\s*(?:(?:https?:)?//)?((?:[\w-]+\.)+[^\W\d_][\w-]+)(?::\d+)?(?:[/?#]\S*)?\s*", re.IGNORECASE)


def links(md: MarkdownIt) -> None:
    """Add bare addresses and the marks of misleading links to a parser."""
    md.use(gfm_autolink_plugin)
    # GitHub's rules for addresses want a space before one, and take fullwidth punctuation into it.
    md.inline.ruler.disable(["gfm_autolink_www", "gfm_autolink_protocol"])
    md.inline.ruler.before("gfm_autolink_email", "bare_address", _bare_address)
    md.inline.ruler.before("gfm_autolink_email", "bare_www", _bare_www)
    md.core.ruler.push("mark_links", _mark_links)


def _bare_address(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - markdown-it's signature
    if state.linkLevel or not state.src.startswith("://", state.pos):
        return False
    scheme = _SCHEME.search(state.pending[-5:])
    found = _ADDRESS.match(state.src, state.pos, state.posMax)
    if not scheme or not found or not _may_follow(state.src, state.pos - len(scheme[0])):
        return False
    text = scheme[0] + _trim(found[0])
    if silent or text.endswith("://"):
        return False
    state.pending = state.pending[: -len(scheme[0])]
    return _push(state, text, text, len(text) - len(scheme[0]))


def _bare_www(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - markdown-it's signature
    if silent or state.linkLevel or state.src[state.pos] not in "wW" or not _may_follow(state.src, state.pos):
        return False
    found = _WWW.match(state.src, state.pos, state.posMax)
    text = _trim(found[0]) if found else ""
    return bool(text) and _push(state, f"http://{text}", text, len(text))


def _may_follow(src: str, start: int) -> bool:
    """Return whether an address may begin at `start`: not within a word."""
    before = src[start - 1] if start else " "
    return is_unspaced(before) or not (before.isalnum() or before in "_/.@-")


def _trim(address: str) -> str:
    """Return an address without the punctuation of the sentence around it; a closing bracket stays where its opener is in it."""
    surplus = address.count(")") - address.count("(")
    end = len(address)
    while end and (address[end - 1] in _TRAILING or (address[end - 1] == ")" and surplus > 0)):
        surplus -= address[end - 1] == ")"
        end -= 1
    return address[:end]


def _push(state: StateInline, url: str, text: str, size: int) -> bool:
    href = state.md.normalizeLink(url)
    if not state.md.validateLink(href):
        return False
    token = state.push("link_open", "a", 1)
    token.attrs = {"href": href}
    token.info = token.markup = "auto"
    state.push("text", "", 0).content = text
    token = state.push("link_close", "a", -1)
    token.info = token.markup = "auto"
    state.pos += size
    return True


def _mark_links(state: StateCore) -> None:
    """Open links in a new tab; after one whose text names another host than its own, say where it leads."""
    for token in state.tokens:
        if token.type == "inline" and token.children and any(child.type == "link_open" for child in token.children):
            token.children = _marked(token.children)


def _marked(children: list[Token]) -> list[Token]:
    result: list[Token] = []
    opener: Token | None = None
    text: list[str] = []
    for token in children:
        result.append(token)
        if token.type == "link_open":
            opener, text = token, []
            token.attrSet("target", "_blank")
        elif token.type == "link_close" and opener:
            host = _other_host(str(opener.attrs.get("href", "")), "".join(text))
            if host:
                result.append(Token("html_inline", "", 0, content=f' <span class="link-host">({escape(host)})</span>'))
            opener = None
        elif opener:
            text.append(token.content)
    return result


def _other_host(href: str, text: str) -> str:
    """Return the host that a link leads to, where its text names another one or its address hides it behind a user name."""
    try:
        parts = urlsplit(href)
        host = parts.hostname or ""
    except ValueError:
        return ""
    if parts.scheme not in {"http", "https"} or not host:
        return ""
    named = _NAMES_HOST.fullmatch(text)
    if "@" in parts.netloc:
        return host
    return host if named and not _same_site(named[1].lower(), host.lower()) else ""


def _same_site(named: str, host: str) -> bool:
    named, host = named.removeprefix("www."), host.removeprefix("www.")
    return host == named or host.endswith(f".{named}")
