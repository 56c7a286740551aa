"""The fused score of both rankings."""

from __future__ import annotations

import pytest

from search.index import Hit
from search.ranking.fusion import Background, Query, fuse, pooled, probability

BACKGROUND = Background(mean=0.8, deviation=0.02, size=100)


def order(hits: list[Hit]) -> list[int]:
    return [hit.chunk_id for hit in hits]


def test_a_passage_that_both_rankings_place_high_comes_first() -> None:
    fused = fuse(Query.of("how cats sleep"), {1: 5.0, 2: 5.2, 3: 1.0}, [Hit(1, 9.0), Hit(3, 6.0)], {})
    assert order(fused) == [1, 2, 3]


def test_words_that_match_by_chance_do_not_outweigh_a_clear_meaning() -> None:
    """A question in another language shares a name with many passages."""
    fused = fuse(Query.of("Wie lese ich Handbücher in Vim?"), {1: 6.0, 2: 3.0}, [Hit(2, 2.1), Hit(3, 2.0)], {})
    assert order(fused)[0] == 1


def test_an_identifier_that_is_the_whole_query_comes_first() -> None:
    fused = fuse(Query.of("PROJ-4711"), {1: 6.0, 2: 2.0}, [Hit(2, 3.0, exact=True), Hit(1, 2.9)], {})
    assert order(fused)[0] == 2


def test_a_heading_with_the_words_of_the_query_and_no_others_comes_first() -> None:
    headings = {1: "Guide › Restoring a backup", 2: "Guide › Restoring a backup of one table on another machine"}
    fused = fuse(Query.of("restore a backup"), {1: 3.0, 2: 5.0}, [Hit(2, 5.0), Hit(1, 4.9)], headings)
    assert order(fused)[0] == 1


def test_a_passage_found_by_words_alone_counts_as_the_last_by_meaning() -> None:
    fused = fuse(Query.of("cats"), {1: 1.5, 2: 1.0}, [Hit(3, 4.0)], {})
    assert order(fused) == [3, 1, 2]


def test_scores_are_probabilities_in_the_order_of_the_ranking() -> None:
    fused = fuse(Query.of("cats"), {1: 9.0, 2: 4.5, 3: -3.0}, [], {})
    assert [hit.score for hit in fused] == [probability(9.0), 0.5, probability(-3.0)]
    assert all(0 < hit.score < 1 for hit in fused)


def test_cosines_of_different_models_are_compared_by_their_deviation_from_the_mean() -> None:
    assert BACKGROUND.deviations(0.88) == pytest.approx(4.0)
    assert Background(0.1, 0.1, 100).deviations(0.5) == pytest.approx(4.0)


def test_backgrounds_of_several_indexes_are_those_of_all_their_passages() -> None:
    together = pooled([Background(0.0, 0.0, 1), Background(1.0, 0.0, 1)])
    assert (together.mean, together.deviation, together.size) == (0.5, 0.5, 2)
    assert pooled([]).size == 0


def test_copies_of_one_text_have_no_spread_to_divide_by() -> None:
    assert Background(0.9, 0.0, 50).deviations(0.9) == 0.0
