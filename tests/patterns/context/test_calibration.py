"""Learning from what servers report, and noticing those that truncate silently."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from webapp.patterns.context.calibration import EXPIRES, Calibration
from webapp.patterns.types import Usage

KEY = ("ollama", "llama3.1")


def report(calibration: Calibration, counted: int, reported: int, cached: int = 0) -> bool:
    return calibration.observe(KEY, counted=counted, usage=Usage(prompt_tokens=reported, cached_tokens=cached))


def test_nothing_is_known_of_a_server_at_first() -> None:
    calibration = Calibration()
    assert (calibration.factor(KEY), calibration.truncates_at(KEY), calibration.window(KEY, 8192)) == (1.0, None, 8192)
    assert calibration.window(KEY, None) is None


@given(st.lists(st.integers(100, 900), min_size=1, max_size=50), st.floats(0.7, 2.5))
def test_the_factor_comes_near_to_how_the_server_counts(prompts: list[int], factor: float) -> None:
    calibration = Calibration()
    for counted in prompts:
        assert not report(calibration, counted, round(counted * factor))
    assert abs(calibration.factor(KEY) - factor) < 0.02


def test_short_prompts_and_missing_reports_teach_nothing() -> None:
    calibration = Calibration()
    assert not report(calibration, 10, 40)
    assert not report(calibration, 5000, 0)
    assert calibration.factor(KEY) == 1.0


def test_one_strange_report_moves_a_known_factor_little() -> None:
    calibration = Calibration()
    for _ in range(30):
        report(calibration, 500, 600)
    report(calibration, 500, 50_000)
    assert calibration.factor(KEY) < 1.4


def test_a_server_that_truncates_is_noticed_after_three_prompts_and_its_reports_do_not_teach() -> None:
    """Ollama with a window of 4,096 answers 200 whatever it is sent."""
    calibration = Calibration()
    assert not report(calibration, 20_000, 4_000)
    assert not report(calibration, 30_000, 4_090)
    assert calibration.window(KEY, 131_072) == 131_072
    assert report(calibration, 12_000, 4_050)
    assert calibration.factor(KEY) == 1.0
    assert calibration.truncates_at(KEY) == 4_090
    assert calibration.window(KEY, 131_072) == 4_090
    assert calibration.window(KEY, None) == 4_090
    assert calibration.window(KEY, 2_048) == 2_048


def test_the_same_prompt_again_is_not_another_observation() -> None:
    calibration = Calibration()
    assert not any(report(calibration, 20_000, 4_000) for _ in range(10))
    assert calibration.truncates_at(KEY) is None


def test_a_server_that_counts_in_another_way_is_not_taken_for_one_that_truncates() -> None:
    """It leaves the tools out, or counts words: the longer the prompt, the more it reports."""
    calibration = Calibration()
    assert not any(report(calibration, counted, counted // 2) for counted in (2_000, 4_000, 8_000, 16_000, 32_000))
    assert calibration.window(KEY, 131_072) == 131_072


def test_a_server_whose_usage_leaves_out_the_tools_shuts_nobody_out() -> None:
    """The built-in backend once reported 15 tokens for a question with 1,500 tokens of tools."""
    calibration = Calibration()
    for counted, reported in ((1_500, 15), (2_400, 915), (1_600, 115), (1_700, 215)):
        assert not report(calibration, counted, reported)
    assert calibration.window(KEY, 8_192) == 8_192


def test_a_window_is_never_smaller_than_a_prompt_that_was_read() -> None:
    calibration = Calibration()
    report(calibration, 6_000, 6_000)
    for counted in (20_000, 30_000, 40_000):
        report(calibration, counted, 4_000)
    assert calibration.truncates_at(KEY) == 6_000


def test_once_its_counting_is_known_a_small_loss_is_noticed() -> None:
    calibration = Calibration()
    for _ in range(3):
        report(calibration, 800, 880)
    for counted in (5_000, 6_000, 7_000):
        report(calibration, counted, 4_096)
    assert calibration.truncates_at(KEY) == 4_096


def truncating(calibration: Calibration) -> None:
    for counted in (20_000, 30_000, 40_000):
        report(calibration, counted, 4_096)
    assert calibration.truncates_at(KEY) == 4_096


def test_a_longer_prompt_that_goes_through_clears_the_window() -> None:
    """The administrator has raised the server's window."""
    calibration = Calibration()
    truncating(calibration)
    assert not report(calibration, 3_000, 3_000)
    assert calibration.truncates_at(KEY) == 4_096
    assert not report(calibration, 10_000, 10_000)
    assert calibration.truncates_at(KEY) is None


def test_a_window_expires_a_day_after_its_last_confirmation() -> None:
    now = [1_000_000.0]
    calibration = Calibration(lambda: now[0])
    truncating(calibration)
    now[0] += EXPIRES - 1
    assert report(calibration, 50_000, 4_000)
    now[0] += EXPIRES - 1
    assert calibration.truncates_at(KEY) == 4_096
    now[0] += 2
    assert calibration.truncates_at(KEY) is None


def test_a_reading_is_kept_elsewhere_and_taken_back() -> None:
    calibration = Calibration()
    truncating(calibration)
    ((key, reading),) = calibration.take_changes()
    assert list(calibration.take_changes()) == []
    other = Calibration()
    other.restore(key, reading)
    assert other.truncates_at(KEY) == 4_096
    other.forget(KEY)
    assert other.window(KEY, 8_192) == 8_192


def test_cached_tokens_that_a_server_leaves_out_are_added() -> None:
    calibration = Calibration()
    assert not report(calibration, 10_000, 200, cached=9_800)
    assert calibration.factor(KEY) == 1.0


def test_servers_are_kept_apart() -> None:
    calibration = Calibration()
    report(calibration, 500, 1000)
    assert calibration.factor(("vllm", "llama3.1")) == 1.0


def test_a_server_that_reports_nonsense_is_not_taken_for_one_with_a_tiny_window() -> None:
    """FAULTS 32: some servers report the same few tokens whatever they were sent; nothing fits into a window of seven."""
    calibration = Calibration()
    assert not calibration.observe("server", counted=1200, usage=Usage(prompt_tokens=7))
    assert calibration.window("server", None) is None
    assert calibration.factor("server") == 1.0
