"""The sanitizer: an allow-list of what our Markdown renderer can write, and nothing else."""

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
_MATH_ATTRIBUTES = {"display", "stretchy", "fence", "separator", "lspace", "rspace", "linethickness", "columnalign", "rowspacing", "width"}
_CLASSES = re.compile(
    r"(?:code|code-head|code-language|image-link|math-source|task-list-item|contains-task-list|footnotes|footnote-ref|"
    r"footnote-item|footnote-backref|footnotes-list|footnotes-sep|align-(?:left|right|center)|hl-[a-z0-9]+)"
)
_LINK = re.compile(r"(?:https?://[^\s/]|mailto:[^\s/])[^\x00-\x20]*", re.IGNORECASE)
_FOOTNOTE = re.compile(r"fn(?:ref)?[\w:-]*")

_ATTRIBUTES: dict[str, set[str]] = {
    "a": {"href", "title", "class", "id"},
    "li": {"class", "id"},
    "ol": {"start", "class"},
    "ul": {"class"},
    "section": {"class"},
    "hr": {"class"},
    "sup": {"class"},
    "span": {"class"},
    "div": {"class"},
    "code": {"class"},
    "th": {"class"},
    "td": {"class"},
    **{tag: set(_MATH_ATTRIBUTES) for tag in MATHML},
}


def _filter(_tag: str, name: str, value: str) -> str | None:
    if name == "href":
        return value if _LINK.fullmatch(value) or (value.startswith("#") and _FOOTNOTE.fullmatch(value[1:])) else None
    if name == "id":
        return value if _FOOTNOTE.fullmatch(value) else None
    if name == "class":
        return " ".join(word for word in value.split() if _CLASSES.fullmatch(word)) or None
    return value


_cleaner = nh3.Cleaner(
    tags=set(HTML | MATHML),
    attributes=_ATTRIBUTES,
    attribute_filter=_filter,
    # A checkbox of a task list, and the copy button of a code block: fixed values only.
    tag_attribute_values={
        "input": {"type": {"checkbox"}, "disabled": {"", "disabled"}, "checked": {"", "checked"}},
        "a": {"target": {"_blank"}},
        "pre": {"tabindex": {"0"}},
        "button": {"type": {"button"}, "data-copy": {"code"}},
    },
    set_tag_attribute_values={"input": {"disabled": "", "type": "checkbox", "aria-label": "Done"}},
    link_rel="noopener noreferrer nofollow",
    url_schemes={"http", "https", "mailto"},
)


def clean(html: str) -> str:
    """`html` with everything removed that is not on the list: what Markdown, highlighting and MathML can produce."""
    return _cleaner.clean(html)
