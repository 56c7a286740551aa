"""Every text of a template is marked for translation."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.template.base import DebugLexer, TokenType

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
# Read aloud, shown in a tooltip, in a field, or by a script.
HUMAN = {"title", "placeholder", "alt", "aria-label", "aria-description", "aria-roledescription", "aria-valuetext", "label", "hx-confirm"}
HUMAN_DATA = re.compile(r"data-(confirm|text|label|done|empty|title|hint|note|say|wait|ask)(-|$)")
# Names that are the same in every language.
NAMES = {
    "Patchbay",
    "JSON",
    "JSONL",
    "CSV",
    "Markdown",
    "PDF",
    "MCP",
    "OpenAI",
    "HTML",
    "API",
    "URL",
    "Ctrl",
    "Esc",
    "Enter",
    "Shift",
    "K",
    "ms",
    "s",
}
UNREAD = {"script", "style", "code", "pre", "kbd", "svg", "samp"}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
WORD = re.compile(r"[^\W\d_]{2,}|\b[aI]\b")
# A block of names of CSS classes.
CLASSES = re.compile(r"{% block main_class %}.*?{% endblock(?: main_class)? %}", re.DOTALL)
# Stands where the template language has a value.
VALUE = "\u2063"


class _Texts(HTMLParser):
    """Collects what people read and what is not a value."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.unread = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in UNREAD:
            self.unread += 1
        for name, value in attrs:
            if value and (name in HUMAN or HUMAN_DATA.match(name)):
                self.take(value)
            if tag == "input" and name == "value" and ("type", "submit") in attrs:
                self.take(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in UNREAD:
            self.unread -= 1

    def handle_data(self, data: str) -> None:
        if not self.unread:
            self.take(data)

    def take(self, text: str) -> None:
        if words := [word for word in WORD.findall(text) if word not in NAMES]:
            self.found.append(" ".join(words))


def untranslated(source: str) -> list[str]:
    """Return the texts of a template that no translation reaches."""
    html, in_block, in_comment = [], False, False
    source = CLASSES.sub("", source)
    for token in DebugLexer(source).tokenize():
        name = token.contents.split(" ", 1)[0] if token.token_type is TokenType.BLOCK else ""
        if name in {"blocktranslate", "comment"}:
            in_block = name == "blocktranslate"
            in_comment = name == "comment"
            html.append(VALUE)
        elif name in {"endblocktranslate", "endcomment"}:
            in_block = in_comment = False
        elif in_block or in_comment:
            continue
        elif token.token_type is TokenType.TEXT:
            html.append(token.contents)
        elif token.token_type is TokenType.VAR or name in {"translate", "url", "static", "include"}:
            html.append(VALUE)
            html += [f'<p title="{literal}">' for literal in _literals(token.contents, name)]
    text = "".join(html)
    parser = _Texts()
    parser.feed(text if "<" in text else f"<p {text}>")  # a file without tags holds attributes
    return parser.found


def _literals(contents: str, name: str) -> list[str]:
    """Return the words that a filter or an include shows: `{{ name|default:"no name" }}`."""
    if name in {"translate", "url", "static"}:
        return []
    shown = re.findall(r'\|(?:default|default_if_none|yesno|add|pluralize):"([^"]*)"', contents)
    return [text for text in shown if " " in text.strip() or text[:1].isupper()]


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_every_text_of_a_template_is_translatable(path: Path) -> None:
    assert untranslated(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("<p>New chat</p>", ["New chat"]),
        ('<p>{% translate "New chat" %}</p>', []),
        ('<button aria-label="Close">×</button>', ["Close"]),
        ('<button aria-label="{% translate "Close" %}">×</button>', []),
        ('<p>{{ name|default:"Not named" }}</p>', ["Not named"]),
        ('<p>{{ name|default:_("Not named") }}</p>', []),
        ("<p>{% blocktranslate trimmed %}All of it{% endblocktranslate %} but this</p>", ["but this"]),
        ("<code>max_tokens</code> Patchbay", []),
        ('<form hx-confirm="Delete it?"></form>', ["Delete it"]),
    ],
)
def test_the_search_finds_a_text_without_a_mark(source: str, found: list[str]) -> None:
    assert untranslated(source) == found
