"""Prompts of embedding models by their names."""

from __future__ import annotations

import pytest

from webapp.patterns.embeddings.prompts import NONE, Prompts, prompts_of

REPRESENT = Prompts("Represent this sentence for searching relevant passages: ")


@pytest.mark.parametrize(
    ("model", "prompts"),
    [
        ("multilingual-e5-small", Prompts("query: ", "passage: ")),
        ("intfloat/e5-large-v2", Prompts("query: ", "passage: ")),
        ("nomic-embed-text:latest", Prompts("search_query: ", "search_document: ")),
        ("embeddinggemma:300m", Prompts("task: search result | query: ", "title: none | text: ")),
        ("BAAI/bge-small-en-v1.5", REPRESENT),
        ("mxbai-embed-large", REPRESENT),
        ("snowflake-arctic-embed2", Prompts("query: ")),
        ("snowflake-arctic-embed:335m", REPRESENT),
    ],
)
def test_a_known_model_has_the_prompts_of_its_card(model: str, prompts: Prompts) -> None:
    assert prompts_of(model) == prompts


@pytest.mark.parametrize("model", ["all-MiniLM-L6-v2", "text-embedding-3-small", "bge-m3", "thenlper/gte-large", "e500", "embed"])
def test_a_model_without_prompts_gets_none(model: str) -> None:
    assert prompts_of(model) == NONE


@pytest.mark.parametrize("model", ["multilingual-e5-large-instruct", "e5-mistral-7b-instruct", "qwen3-embedding:0.6b"])
def test_an_instructed_model_reads_an_instruction_before_the_query_only(model: str) -> None:
    prompts = prompts_of(model)
    assert prompts.query.startswith("Instruct: ")
    assert prompts.query.rstrip().endswith("Query:")
    assert prompts.passage == ""
