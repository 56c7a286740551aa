"""Know the prompts of embedding models that read a query and a passage differently.

    prompts = prompts_of("intfloat/multilingual-e5-small")
    await embed(backend, [prompts.passage + text for text in texts])
    await embed(backend, [prompts.query + question])

Such a model was trained with a short text in front of each input. Without it, the vectors are worse, and no server adds it. The table
follows the models' published cards; a model that is not in it needs no prompt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_RETRIEVE = "Given a web search query, retrieve relevant passages that answer the query"
_REPRESENT = "Represent this sentence for searching relevant passages: "


@dataclass(frozen=True, slots=True)
class Prompts:
    """The texts to put in front of a query and of a passage."""

    query: str = ""
    passage: str = ""


NONE = Prompts()
_TABLE = (
    (r"\be5-.*instruct|e5-mistral", Prompts(f"Instruct: {_RETRIEVE}\nQuery: ")),
    (r"\be5[-_:]", Prompts("query: ", "passage: ")),
    (r"nomic-embed-text", Prompts("search_query: ", "search_document: ")),
    (r"nomic-embed-code", Prompts("Represent this query for searching relevant code: ")),
    (r"embedding-?gemma", Prompts("task: search result | query: ", "title: none | text: ")),
    (r"qwen3-embedding", Prompts(f"Instruct: {_RETRIEVE}\nQuery:")),
    (r"arctic-embed(2|.*v2)", Prompts("query: ")),
    (r"arctic-embed|mxbai-embed|\bbge-(small|base|large)(-en|:|$)", Prompts(_REPRESENT)),
    (r"\bbge-(small|base|large)-zh", Prompts("为这个句子生成表示以用于检索相关文章：")),
)
_PATTERNS = tuple((re.compile(pattern, re.IGNORECASE), prompts) for pattern, prompts in _TABLE)


def prompts_of(model: str) -> Prompts:
    """Return the prompts of a model by its name, as servers write it; empty ones for a model that needs none."""
    return next((prompts for pattern, prompts in _PATTERNS if pattern.search(model)), NONE)
