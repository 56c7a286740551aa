"""Model lists as servers write them."""

from __future__ import annotations

from typing import Any

import pytest

from webapp.patterns.openai.model_list import read_models
from webapp.patterns.types import ModelInfo


@pytest.mark.parametrize(
    ("entry", "info"),
    [
        ({"id": "m", "object": "model", "created": 1, "owned_by": "openai"}, ModelInfo("m", None, "openai")),
        ({"id": "m", "max_model_len": 4096}, ModelInfo("m", 4096)),
        ({"id": "m", "meta": {"n_ctx_train": 32768}}, ModelInfo("m", 32768)),
        ({"id": "m", "context_length": 8192, "top_provider": {"context_length": 4096}}, ModelInfo("m", 8192)),
        ({"id": "m", "top_provider": {"context_length": 4096}}, ModelInfo("m", 4096)),
        ({"id": "m", "n_ctx": True, "context_window": "8k", "meta": None, "owned_by": None}, ModelInfo("m")),
        ({"name": "llama3:8b", "model": "llama3:8b"}, ModelInfo("llama3:8b")),
        ("m", ModelInfo("m")),
    ],
)
def test_each_kind_of_entry_is_read(entry: Any, info: ModelInfo) -> None:
    assert read_models({"data": [entry]}) == [info]
    assert read_models({"models": [entry]}) == [info]


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": {}, "models": 7}, {"data": [{"id": 7}, None, {}, ""]}])
def test_nothing_is_made_of_nothing(body: Any) -> None:
    assert read_models(body) == []


def test_a_model_listed_twice_counts_once() -> None:
    assert read_models({"data": [{"id": "a"}, {"id": "b"}, {"id": "a", "context_window": 9}]}) == [ModelInfo("a"), ModelInfo("b")]
