"""Images that tools return: shown to models that see them, kept from those that do not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.patterns.scripted import Scripted, calls, events_of, result_of, says
from webapp.patterns.agent.loop import ToolFinished
from webapp.patterns.agent.tool_images import MAX_TOLD, OLDER, images_message, is_images_message, with_newest_images
from webapp.patterns.agent.tools import ToolRegistry, ToolResult
from webapp.patterns.errors import AllFailed, CapabilityMissing, PatternError, ServerFailed
from webapp.patterns.images import Image, image_type
from webapp.patterns.types import Attempt, Message

PNG = Image("image/png", b"\x89PNG\r\n\x1a\n")
CANNOT_SEE = CapabilityMissing("No images here.", lacks="vision")


@pytest.fixture
def camera() -> ToolRegistry:
    registry = ToolRegistry()

    @registry.tool
    def shoot() -> ToolResult:
        return ToolResult("[image]", images=(PNG,))

    @registry.tool
    def zoom() -> ToolResult:
        return ToolResult("[image]", images=(PNG,))

    @registry.tool
    def write() -> str:
        return "written"

    return registry


def images_of(message: Message) -> list[str]:
    return [part["image_url"]["url"] for part in message["content"] if part["type"] == "image_url"]


async def test_images_follow_the_replies_of_all_tools_in_a_message_of_their_own(camera: ToolRegistry) -> None:
    backend = Scripted(calls("shoot", "write", "zoom"), says("Nice."))
    result = await result_of(backend, camera)
    *replies, shown = backend.requests[1].messages[-4:]
    assert [reply["content"] for reply in replies] == ["[image]", "written", "[image]"]
    assert images_of(shown) == [PNG.url, PNG.url]
    assert result.messages[4] == shown


async def test_the_event_of_a_call_has_its_images(camera: ToolRegistry) -> None:
    events = await events_of(Scripted(calls("shoot"), says("Nice.")), camera)
    assert [event.images for event in events if isinstance(event, ToolFinished)] == [(PNG,)]


def skipped() -> AllFailed:
    return AllFailed("No.", attempts=[Attempt("blind", "m", outcome="skipped", why="It cannot do: vision.")])


@pytest.mark.parametrize("error", [CANNOT_SEE, skipped()])
async def test_a_model_that_sees_no_images_answers_without_them(camera: ToolRegistry, error: PatternError) -> None:
    backend = Scripted(calls("shoot"), [error], calls("shoot"), says("Fine."))
    result = await result_of(backend, camera)
    assert result.text == "Fine."
    with_image, *without = [any(map(is_images_message, request.messages)) for request in backend.requests[1:]]
    assert with_image
    assert without == [False, False], "it is not asked with images again"


@pytest.mark.parametrize("turn", [[ServerFailed("Down.")], [*says("No"), CANNOT_SEE]])
async def test_other_failures_and_later_ones_are_not_about_images(camera: ToolRegistry, turn: Any) -> None:
    with pytest.raises(PatternError):
        await result_of(Scripted(calls("shoot"), turn), camera)


async def test_without_images_a_missing_capability_is_the_answers_failure(camera: ToolRegistry) -> None:
    backend = Scripted(calls("write"), [CANNOT_SEE])
    with pytest.raises(CapabilityMissing):
        await result_of(backend, camera)
    assert len(backend.requests) == 2


def test_only_the_newest_images_are_told() -> None:
    old, new = images_message([f"old{n}" for n in range(3)]), images_message([f"new{n}" for n in range(MAX_TOLD - 1)])
    assert old
    assert new
    question: Message = {"role": "user", "content": "Well?"}
    told = with_newest_images([question, old, question, new])
    assert [images_of(told[1]), len(images_of(told[3]))] == [["old2"], MAX_TOLD - 1]
    assert [part["text"] for part in told[1]["content"][1:3]] == [OLDER, OLDER]
    assert images_of(old) == ["old0", "old1", "old2"], "the conversation itself stays"
    assert images_message([]) is None


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (PNG.data, "image/png"),
        (b"<svg xmlns=", ""),
        (b"RIFF\0\0\0\0WAVE", ""),
    ],
)
def test_the_bytes_of_an_image_tell_its_type(data: bytes, kind: str) -> None:
    assert image_type(data) == kind
