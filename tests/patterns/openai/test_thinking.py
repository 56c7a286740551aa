"""Reasoning in tags is told from the answer, however the content is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.patterns.openai.thinking import ThinkSplitter, reasoning_of, split_parts, split_whole

CASES = {
    "<think>\nLet me see.\n</think>\n\nThe answer is 42.": ("Let me see.", "The answer is 42."),
    "\n<think>a</think>b": ("a", "b"),
    "<think></think>\n\nb": ("", "b"),
    "<thinking>a</thinking>b": ("a", "b"),
    "[THINK]a[/THINK]b": ("a", "b"),
    "◁think▷a◁/think▷b": ("a", "b"),
    "<think>a</think>\n<think>c</think>\nb": ("ac", "b"),
    "<think>never closed": ("never closed", ""),
    "Okay, so the user asks.\n</think>\n\nThe answer.": ("Okay, so the user asks.", "The answer."),
    "A plain answer with a < b and c > d.": ("", "A plain answer with a < b and c > d."),
    "The tag `</think>` closes reasoning.": ("", "The tag `</think>` closes reasoning."),
    "```\nx\n</think>\n```\n": ("", "```\nx\n</think>\n```\n"),
    "Use <think> in your prompt.": ("", "Use <think> in your prompt."),
    "<think>about a </thin line</think>b": ("about a </thin line", "b"),
    "": ("", ""),
    "  ": ("", "  "),
}


@pytest.mark.parametrize(("content", "expected"), CASES.items())
def test_a_whole_content_is_split(content: str, expected: tuple[str, str]) -> None:
    splitter = ThinkSplitter()
    reasoning, text, was_reasoning = splitter.feed(content)
    held, rest, _ = splitter.close()
    assert (reasoning + held, text + rest) == expected
    assert not was_reasoning or content.startswith("Okay")


@given(st.sampled_from(sorted(CASES)), st.data())
def test_the_split_is_the_same_however_the_content_is_cut(content: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
    splitter, reasoning, text = ThinkSplitter(), "", ""
    for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        thought, said, was_reasoning = splitter.feed(content[start:end]) if start < end else ("", "", False)
        if was_reasoning:
            reasoning, text = (reasoning + text).rstrip("\n"), ""
        reasoning, text = reasoning + thought, text + said
    thought, said, _ = splitter.close()
    assert ((reasoning + thought).rstrip("\n"), text + said) == CASES[content]


def test_a_whole_answer_has_its_reasoning_apart() -> None:
    assert split_whole("<think>a</think>b") == ("a", "b")


def test_thinking_parts_are_reasoning() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Yes"}, "!"]
    assert split_parts(parts) == ("hm", "Yes!")


@pytest.mark.parametrize(
    "body",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning": {"content": "hm"}},
        {"thinking": "hm"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "h"}, {"type": "reasoning.summary", "summary": "m"}]},
    ],
)
def test_reasoning_is_read_from_every_field(body: dict[str, object]) -> None:
    assert reasoning_of(body) == "hm"
