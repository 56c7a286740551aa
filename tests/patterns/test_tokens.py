"""Counting tokens offline."""

from __future__ import annotations

from webapp.patterns.tokens import Count, count_messages, count_text, encoding_name


def test_it_counts_text_of_known_models_exactly() -> None:
    assert count_text("Hello, how are you?", "gpt-4o") == 6
    assert encoding_name("gpt-4-0613") == "cl100k_base"


def test_it_counts_a_conversation_as_openai_does() -> None:
    """3 for the message, 1 for the role, 1 for the text, 3 for the reply."""
    assert count_messages([{"role": "user", "content": "Hello"}], "gpt-4o") == Count(8, exact=True)


def test_an_unknown_model_is_estimated_and_said_to_be() -> None:
    assert count_messages([{"role": "user", "content": "Hello"}], "llama-3.1-8b").exact is False
