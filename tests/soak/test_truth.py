"""The soak's own clock: which second answer is a product's fault, and which a kill's."""

from __future__ import annotations

import pytest

from tests.soak.truth import Record

KILL = (100.0, 101.0)
"""The signal, and the next start."""


@pytest.mark.parametrize(
    ("answered", "is_needless"),
    [
        ([97.9, 103.0], True),  # it had two seconds to be kept
        ([98.1, 103.0], False),  # under way to the database at the kill
        ([100.2, 103.0], False),  # the signal was on its way, or the process dead already
        ([101.2, 103.0], True),  # the next process has it
        ([99.0, 103.0, 104.0], True),  # sent again for the kill, and once more for nothing
        ([99.0], False),
    ],
)
def test_a_second_answer_is_needless_where_no_kill_explains_it(answered: list[float], is_needless: bool) -> None:
    record = Record(whole={"batch-1-1": answered, "chat-1": [1.0, 2.0]})
    assert record.needless("batch", [KILL], 2.0) == (["batch-1-1"] if is_needless else [])
