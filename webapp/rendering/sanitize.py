"""The sanitizer: an allow-list of what the Markdown renderer can write."""

from __future__ import annotations

import re

import nh3

MATHML = frozenset(
    [
        "math",
        "mrow",
        "mi",
        "mn",
        "mo",
        "ms",
        "mtext",
        "mspace",
        "mfrac",
        "msqrt",
        "mroot",
        "mstyle",
        "mpadded",
        "mphantom",
        "menclose",
        "msub",
        "msup",
        "msubsup",
        "munder",
        "mover",
        "munderover",
        "mmultiscripts",
        "mprescripts",
        "mtable",
        "mtr",
        "mlabeledtr",
        "mtd",
    ]
)
HTML = frozenset(
    [
        "p",
        "br",
        "hr",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "strong",
        "em",
        "s",
        "del",
        "sub",
        "sup",
        "kbd",
        "mark",
        "u",
        "code",
        "pre",
        "blockquote",
        "ul",
        "ol",
        "li",
        "input",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "a",
        "span",
        "div",
        "section",
        "button",
    ]
)
_MATH_ATTRIBUTES = {
    "accent",
    "accentunder",
    "class",
    "columnspan",
    "depth",
    "display",
    "displaystyle",
    "fence",
    "form",
    "height",
    "largeop",
    "linethickness",
    "lspace",
    "mathbackground",
    "mathcolor",
    "mathsize",
    "mathvariant",
    "maxsize",
    "minsize",
    "movablelimits",
    "notation",
    "rowspan",
    "rspace",
    "scriptlevel",
    "separator",
    "stretchy",
    "symmetric",
    "voffset",
    "width",
}
_CLASSES = re.compile(
    r"(?:code|code-head|code-language|code-buttons|image-link|link-host|math-source|task-list-item|contains-task-list|heading-[1-6]|"
    r"footnote|footnote-ref|footnote-backref|align-(?:left|right|center)|hl-[a-z0-9]+|"
    r"upstrike|downstrike|sout|tml-(?:left|right|jot|small|fbox|bold|wide|half|overline|underline|cancel|xcancel|tag|p[lr]-\d+|b[tblr]))"
)
_LINK = re.compile(r"(?:https?://[^\s/]|mailto:[^\s/])[^\x00-\x20]*", re.IGNORECASE)
_DOCUMENT = re.compile(r"/search/documents/[0-9a-f-]{1,36}/(?:\?passage=\d{1,20})?(?:#passage)?")
"""Addresses of the product's own documents, as the search tool gives them to a model."""
_FOOTNOTE = re.compile(r"fn(?:ref)?-[\w:-]*")

_ATTRIBUTES: dict[str, set[str]] = {
    "a": {"href", "title", "class", "id"},
    "li": {"class"},
    "ol": {"start", "class"},
    "ul": {"class"},
    "sup": {"class"},
    "span": {"class"},
    "div": {"class", "id"},
    "code": {"class"},
    "th": {"class"},
    "td": {"class"},
    **{f"h{level}": {"class"} for level in range(1, 7)},
    **{tag: set(_MATH_ATTRIBUTES) for tag in MATHML},
}
_DIRECTED = ("p", "ul", "ol", "blockquote", "table", "h1", "h2", "h3", "h4", "h5", "h6")


def _filter(_tag: str, name: str, value: str) -> str | None:
    if name == "href":
        return value if _LINK.fullmatch(value) or _DOCUMENT.fullmatch(value) or _is_footnote(value) else None
    if name == "id":
        return value if _FOOTNOTE.fullmatch(value) else None
    if name == "class":
        return " ".join(word for word in value.split() if _CLASSES.fullmatch(word)) or None
    return value


def _is_footnote(href: str) -> bool:
    return href.startswith("#") and _FOOTNOTE.fullmatch(href[1:]) is not None


_cleaner = nh3.Cleaner(
    tags=set(HTML | MATHML),
    attributes=_ATTRIBUTES,
    attribute_filter=_filter,
    # Attributes with fixed values only: the checkbox of a task list, the buttons of a code block, the direction of a block.
    tag_attribute_values={
        "input": {"type": {"checkbox"}, "disabled": {"", "disabled"}, "checked": {"", "checked"}},
        "a": {"target": {"_blank"}},
        "pre": {"tabindex": {"0"}, "dir": {"ltr"}},
        "button": {"type": {"button"}, "data-copy": {"code"}, "data-code": {"wrap", "download"}, "aria-pressed": {"false"}},
        "div": {"data-preview": {"mermaid", "html", "svg"}},
        **{tag: {"dir": {"auto"}} for tag in _DIRECTED},
    },
    set_tag_attribute_values={"input": {"disabled": "", "type": "checkbox", "aria-label": "Done"}},
    link_rel="noopener noreferrer nofollow",
    url_schemes={"http", "https", "mailto"},
)


def clean(html: str) -> str:
    """Return `html` without everything that Markdown, highlighting and MathML cannot produce."""
    return _cleaner.clean(html)
