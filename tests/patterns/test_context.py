"""Fitting conversations into windows."""

from __future__ import annotations

from typing import Any

from webapp.patterns.context import fit


def conversation(turns: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}]
    for number in range(turns):
        messages += [{"role": "user", "content": f"Question {number}"}, {"role": "assistant", "content": f"Answer {number} " * 20}]
    return [*messages, {"role": "user", "content": "The last question"}]


def test_what_fits_is_untouched() -> None:
    messages = conversation(3)
    fitted = fit(messages, window=8192, reserve=1024, model="gpt-4o")
    assert fitted.messages == messages
    assert fitted.report.untouched


def test_the_oldest_turns_go_first() -> None:
    messages = conversation(100)
    fitted = fit(messages, window=2000, reserve=500, model="gpt-4o")
    kept = [index for index in range(len(messages)) if index not in fitted.report.left_out]
    assert kept == [0, *range(kept[1], len(messages))]
    assert fitted.messages[1]["role"] == "user"
    assert fitted.report.tokens <= 1500
