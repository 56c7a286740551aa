"""Format passages for other uses: rows of an export or of a tool's answer, and the prompt of a chat about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from django.urls import reverse

from search.models import Chunk
from search.ranking.query import SearchResult

FIELDS = ("document", "heading", "text", "url", "collection", "score", "semantic_rank", "cosine", "keyword_rank", "keyword_score")
MAX_ADDRESS_BYTES = 7500
"""Limit of a prompt in an address: servers and proxies refuse a request line above 8 KB."""


def url(chunk: Chunk) -> str:
    """Return the address of a passage: its document, opened there."""
    return f"{reverse('search:document', args=[chunk.document_id])}?passage={chunk.pk}#passage"


def row(result: SearchResult, site: str = "/") -> dict[str, Any]:
    """Return a result as plain values, with the names of FIELDS."""
    chunk = result.chunk
    values = (
        chunk.document.name,
        chunk.heading,
        chunk.text,
        site.rstrip("/") + url(chunk),
        chunk.collection.name,
        round(result.score, 5),
        result.semantic[0] if result.semantic else None,
        round(result.semantic[1], 4) if result.semantic else None,
        result.keyword[0] if result.keyword else None,
        round(result.keyword[1], 4) if result.keyword else None,
    )
    return dict(zip(FIELDS, values, strict=True))


def prompt(question: str, passages: Sequence[Chunk]) -> str:
    """Return a question about passages, each quoted with its source and truncated so that all fit into an address."""
    share = MAX_ADDRESS_BYTES // (len(passages) + 1)
    question = _cut(question, share)
    quoted = "\n\n".join(_cut(_quoted(number, chunk), share) for number, chunk in enumerate(passages, 1))
    return f"{question or 'Sum up these passages.'}\n\nAnswer from these passages, and cite them:\n\n{quoted}" if quoted else question


def _quoted(number: int, chunk: Chunk) -> str:
    source = f"{chunk.document.name}{f' › {chunk.heading}' if chunk.heading else ''}"
    return f"[{number}] {source} ({url(chunk)})\n" + "\n".join(f"> {line}" for line in chunk.text.splitlines())


def _cut(text: str, size: int) -> str:
    """Return the start of a text that takes at most `size` bytes in an address."""
    encoded = quote_plus(text)[:size]
    return text if len(encoded) < size else unquote_plus(re.sub("%.?$", "", encoded), errors="ignore")
