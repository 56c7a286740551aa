"""Tool calls as cards."""

from __future__ import annotations

import pytest

from chat.html.tool_cards import tool_card


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ('{"expression": "6*7", "digits": 2}', "6*7, 2"),
        ({"query": "<b>tides</b>\nand more"}, "&lt;b&gt;tides&lt;/b&gt; and more"),
        ('{"broken', "{&quot;broken"),
        ("[1, 2]", "[1, 2]"),
        ('{"a": "x\\u0000y", "b": "\\ud800"}', "xy, ?"),
        ("", ""),
    ],
)
def test_a_closed_card_shows_at_a_glance_what_was_asked(arguments: object, shown: str) -> None:
    """FAULTS 5: as text."""
    card = tool_card({"id": "c", "name": "tool", "arguments": arguments, "state": "done", "result": "42"})
    assert f'<span class="muted small">{shown}</span></summary>' in card
    card.encode()  # no half of a character is left
