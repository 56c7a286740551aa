"""Render parts of the search pages: marked passages, score bars, sizes."""

from __future__ import annotations

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from search.index.base import Terms
from search.models import Chunk, Document
from search.ranking import citations, highlight

register = template.Library()

BADGES = {"ready": "ok", "failed": "bad", "cancelled": "", "queued": "", "parsing": "run", "embedding": "run", "building": "run"}


@register.simple_tag
def snippet(chunk: Chunk, words: Terms) -> SafeString:
    """Return the best part of a passage, with its words marked."""
    return highlight.snippet(_body(chunk), words)


def _body(chunk: Chunk) -> str:
    """Return the passage without its own heading, which is displayed above it."""
    last = chunk.heading.rsplit(" › ", 1)[-1]
    text = chunk.text.lstrip("# ")
    return text[len(last) :].lstrip("\n=-~# ") or chunk.text if last and text.startswith(last) else chunk.text


@register.simple_tag
def marked(text: str, words: Terms) -> SafeString:
    """Return a short text with its words marked."""
    return highlight.whole(text, words)


@register.simple_tag
def bar(share: float, label: str) -> SafeString:
    """Return a horizontal bar of `share`, 0 to 1."""
    width = round(max(0.0, min(1.0, share)) * 60, 1)
    return format_html(
        '<svg class="bar" viewBox="0 0 60 6" width="60" height="6" role="img" aria-label="{}">'
        '<rect class="bar-track" width="60" height="6" rx="3"/><rect class="bar-fill" width="{}" height="6" rx="3"/></svg>',
        label,
        width,
    )


@register.filter
def passage_url(chunk: Chunk) -> str:
    """Return the address of a passage in its document."""
    return citations.url(chunk)


@register.filter
def badge(state: str) -> str:
    """Return the badge's color for a state."""
    return BADGES.get(state, "")


@register.filter
def percent(document: Document) -> int:
    """Return the share of a document's passages that have a vector, 0 to 100."""
    return document.embedded * 100 // document.passages if document.passages else 0


@register.filter
def share(value: float) -> str:
    """Format 0.8 as `80 %`."""
    return f"{value * 100:.0f} %"
