"""The positions of bars, lines, and ticks."""

from __future__ import annotations

import pytest

from webapp.core import charts


@pytest.mark.parametrize(("values", "top"), [([], 1), ([0], 1), ([1], 1), ([7], 10), ([101, 3], 200), ([2.4], 2.5), ([999_999], 1_000_000)])
def test_the_axis_ends_with_the_next_round_number(values: list[float], top: float) -> None:
    assert charts.top_of(values) == top


def test_stacked_bars_stand_on_each_other_and_fill_the_height() -> None:
    chart = charts.bars("t", ["a", "b"], ("x", "y"), [(6, 4), (0, 5)])
    first, second, third = chart.bars
    assert (first.series, second.series, third.series) == (0, 1, 1)
    assert first.y + first.height == pytest.approx(chart.base)
    assert second.y + second.height == pytest.approx(first.y, abs=0.1)
    assert second.y == pytest.approx(charts.TOP, abs=0.1), "the largest bar reaches the axis' end"
    assert third.height == pytest.approx((first.height + second.height) / 2, abs=0.1)


def test_a_line_is_broken_where_values_are_unknown_and_a_lone_one_is_a_dot() -> None:
    chart = charts.lines("t", list("abcde"), ("p50",), [[1, 2, None, 3, None]])
    (line,) = chart.lines
    assert len(line.runs) == 1
    assert len(line.dots) == 1
    assert len(line.runs[0].split()) == 2


def test_nothing_at_all_is_said_to_be_nothing() -> None:
    assert charts.bars("t", ["a"], ("x",), [(0,)]).empty
    assert charts.lines("t", ["a"], ("x",), [[None]]).empty
    assert charts.spark([]) == ()


def test_labels_are_thinned_out_until_they_fit() -> None:
    assert len(charts.bars("t", [str(n) for n in range(90)], ("x",), [(1,)] * 90).x_ticks) <= charts.MAX_X_LABELS
