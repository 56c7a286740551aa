"""Citations: markers in the text become annotations at their places, however the text is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.patterns.responses.events import ScriptedBackend, decoded, kinds, request_of, response_of, says, whole
from tests.patterns.responses.test_execution import SEARCH, Tools, calls, run
from webapp.patterns.responses.citations import Citations
from webapp.patterns.responses.execution import Execution
from webapp.patterns.responses.replay import replay
from webapp.patterns.responses.snapshot import Snapshot
from webapp.patterns.types import Delta

FOUND = calls("file_search", arguments='{"queries":["a"]}')


def read(*pieces: str, results: int = 2) -> tuple[str, list[tuple[int, str]]]:
    """The text without markers, and the place and file of each citation."""
    citations = Citations()
    for number in range(results):
        citations.add({"file_id": f"f{number + 1}", "filename": "a"})
    text, found = "", []
    for piece in pieces:
        for part in citations.read(piece):
            if isinstance(part, str):
                text += part
            else:
                found.append((len(text), part["file_id"]))
    return text + citations.finish(), found


@pytest.mark.parametrize(
    ("given_text", "text", "found"),
    [
        ("Cats eat fish【1】.", "Cats eat fish.", [(13, "f1")]),
        ("Cats eat fish 【2】.", "Cats eat fish.", [(13, "f2")]),
        ("A【1, 2】B【1】【2】", "AB", [(1, "f1"), (1, "f2"), (2, "f1"), (2, "f2")]),
        ("A【1:0†cats.md】", "A", [(1, "f1")]),
        ("A【2†source】 b", "A b", [(1, "f2")]),
        ("A【3】 and 【0】", "A【3】 and 【0】", []),
        ("【注】 is a note 【", "【注】 is a note 【", []),
        ("no marker ", "no marker ", []),
    ],
)
def test_markers_become_citations_and_leave_the_text(given_text: str, text: str, found: list[tuple[int, str]]) -> None:
    assert read(given_text) == (text, found)
    assert read(*given_text) == (text, found)


@given(st.text(alphabet="ab 【】12,†\n", max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_the_cuts_of_a_stream_change_nothing(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert read(*(text[start:end] for start, end in pairwise(places))) == read(text)


async def test_a_streamed_answer_has_its_citations_as_events_and_in_the_end() -> None:
    backend = ScriptedBackend(FOUND, [Delta("It is so 【"), Delta("1】"), Delta("."), Delta(finish_reason="stop")])
    raw, response = await run(backend, Tools(), tools=[SEARCH])
    [part] = response["output"][1]["content"]
    assert part["text"] == "It is so."
    assert part["annotations"] == [{"type": "file_citation", "index": 8, "file_id": "f1", "filename": "a.txt"}]
    [event] = [event for event in decoded(raw) if event["type"] == "response.output_text.annotation.added"]
    assert (event["annotation"], event["annotation_index"], event["content_index"]) == (part["annotations"][0], 0, 0)
    assert event["item_id"] == response["output"][1]["id"]
    assert Snapshot.of([raw]).response == response
    without_end = Snapshot.of([raw.partition(b"event: response.output_text.done")[0]])
    assert without_end.output[1]["content"] == [{**part, "logprobs": []}]


async def test_a_whole_answer_has_them_too_and_so_has_its_replay() -> None:
    called = whole(calls=[("file_search", '{"queries":["a"]}')], finish="tool_calls")
    backend = ScriptedBackend(called, whole("Yes【1】"))
    response = await Execution(backend, request_of(tools=[SEARCH]), response=response_of(), server=Tools()).send()
    assert response["output"][1]["content"][0]["annotations"][0]["index"] == 3
    again = replay(response)
    assert "output_text.annotation.added" in kinds(again)
    assert Snapshot.of([again]).response == response


async def test_the_model_is_told_how_to_cite_each_result() -> None:
    backend = ScriptedBackend(FOUND, FOUND, says("Yes【2】"))
    _, response = await run(backend, Tools(), tools=[SEARCH])
    assert "【1】" in backend.requests[1].messages[-1]["content"]
    assert '"marker": "【2】"' in backend.requests[2].messages[-1]["content"]
    assert response["output"][2]["content"][0]["annotations"][0]["file_id"] == "f1"


async def test_a_forced_search_is_forced_once() -> None:
    backend = ScriptedBackend(FOUND, says("Done."))
    await run(backend, Tools(), tools=[SEARCH], tool_choice={"type": "file_search"})
    assert backend.requests[0].body["tool_choice"]["function"]["name"] == "file_search"
    assert "tool_choice" not in backend.requests[1].body


async def test_without_a_search_brackets_are_text() -> None:
    _, response = await run(ScriptedBackend(says("See 【1】")), Tools(), tools=[SEARCH])
    assert response["output"][0]["content"][0]["text"] == "See 【1】"
