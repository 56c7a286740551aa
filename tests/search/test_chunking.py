"""Passages along headings, in tokens, with offsets that hold."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from search.chunking import passages
from search.parsing.document import Heading, Parsed
from search.parsing.plain import markdown


def count(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


def cut(text: str, target: int = 50, overlap: int = 0) -> list[tuple[str, str]]:
    parts = passages(markdown(text.encode()), count, target=target, overlap=overlap)
    return [(passage.heading, passage.text) for passage in parts]


def test_the_heading_path_goes_with_each_passage() -> None:
    body = "word " * 45
    found = cut(f"# A\n\n{body}\n\n## B\n\n{body}\n\n# C\n\n{body}\n")
    assert [heading for heading, _ in found] == ["A", "A › B", "C"]


def test_paragraphs_stay_whole_while_they_fit() -> None:
    first, second, third = ("a " * 20).strip(), ("b " * 20).strip(), ("c " * 20).strip()
    assert [text for _, text in cut(f"{first}\n\n{second}\n\n{third}\n")] == [f"{first}\n\n{second}", third]


def test_a_long_paragraph_is_cut_at_sentences() -> None:
    sentence = "one two three four five six seven eight nine."
    found = [text for _, text in cut(" ".join([sentence] * 12))]
    assert all(text.endswith(".") for text in found)
    assert all(count(text) <= 50 for text in found)


def test_text_without_a_break_is_cut_by_length() -> None:
    found = list(passages(Parsed("text", "x" * 10_000), lambda text: len(text) // 4, target=100))
    assert [len(passage.text) for passage in found] == [400] * 25


def test_tiny_sections_go_together_under_the_first_heading() -> None:
    assert cut("# A\n\nfew words\n\n# B\n\nand few more\n") == [("A", "# A\n\nfew words\n\n# B\n\nand few more")]


def test_a_lone_heading_is_no_passage() -> None:
    assert cut("# A\n\n## B\n\ntext here\n") == [("A › B", "## B\n\ntext here")]


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="ab .#\n\t=-é日", max_size=1500), st.lists(st.integers(0, 1500), max_size=4))
def test_every_passage_is_its_stretch_of_the_text_and_nothing_is_lost(text: str, marks: list[int]) -> None:
    headings = [Heading(min(mark, len(text)), 1, f"h{number}") for number, mark in enumerate(sorted(marks))]
    found = list(passages(Parsed("text", text, headings), count, target=20))
    assert all(text[passage.start : passage.end] == passage.text for passage in found)
    assert all(first.end <= second.start for first, second in pairwise(found))
    letters = re.sub(r"[\s#=\-~]", "", text)
    assert re.sub(r"[\s#=\-~]", "", "".join(passage.text for passage in found)) == letters


def test_neighbors_share_whole_sentences_up_to_the_overlap() -> None:
    sentences = [f"Sentence {number} ends." for number in range(30)]
    found = [text for _, text in cut(" ".join(sentences), target=40, overlap=20)]
    assert len(found) >= 5
    for earlier, later in pairwise(found):
        shared = next(size for size in range(len(later), -1, -1) if earlier.endswith(later[:size]))
        assert 0 < count(later[:shared]) <= 20
    assert all(any(sentence in text for text in found) for sentence in sentences)


@given(st.text(alphabet="ab .\n", max_size=400), st.integers(0, 10))
@settings(deadline=None, max_examples=60)
def test_with_any_overlap_every_word_is_in_a_passage(text: str, overlap: int) -> None:
    parsed = Parsed(text=text, kind="text", headings=[])
    covered = {at for passage in passages(parsed, count, target=20, overlap=overlap) for at in range(passage.start, passage.end)}
    assert all(at in covered or text[at].isspace() for at in range(len(text)))
