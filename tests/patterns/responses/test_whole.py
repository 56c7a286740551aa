"""A request that stands alone, as the lines of a batch do."""

from __future__ import annotations

import json

import pytest

from tests.patterns.responses.events import ScriptedBackend, whole
from webapp.patterns.errors import InputError
from webapp.patterns.responses.objects import output_text
from webapp.patterns.responses.whole import complete


async def test_the_response_is_whole_and_not_stored() -> None:
    answer = await complete(ScriptedBackend(whole("Hello")), {"model": "m", "input": "hi"})
    assert output_text(answer.body) == "Hello"
    assert answer.body["store"] is False
    assert json.loads(answer.raw) == answer.body
    assert answer.usage
    assert answer.usage.total_tokens == 7


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "background", "prompt"])
async def test_stored_state_is_refused(name: str) -> None:
    with pytest.raises(InputError) as caught:
        await complete(ScriptedBackend(), {"model": "m", "input": "hi", name: "x"})
    assert caught.value.param == name
