"""Names of remote tools, and results as text."""

from __future__ import annotations

import base64

import pytest
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from webapp.patterns.mcp.names import MAX_CHARS, is_remote, tool_name
from webapp.patterns.mcp.results import MAX_IMAGE_BYTES, MAX_IMAGES, MAX_ITEMS, call_result


@pytest.mark.parametrize(
    ("server", "tool", "name"),
    [("github", "get_issue", "github__get_issue"), ("my server", "do.it", "my_server__do_it"), ("…", "x", "server__x")],
)
def test_names_have_the_server_in_front(server: str, tool: str, name: str) -> None:
    assert tool_name(server, tool) == name
    assert is_remote(name)


def test_long_and_taken_names_end_with_a_hash() -> None:
    long = tool_name("server", "x" * 100)
    assert len(long) == MAX_CHARS
    assert long != tool_name("server", "x" * 101)
    assert tool_name("a", "b", ["a__b"]) not in {"a__b", tool_name("a", "c")}
    assert tool_name("a", "b", ["a__b"]) == tool_name("a", "b", ["a__b"])


def test_all_kinds_of_content_become_text() -> None:
    content = [
        TextContent(text="Hello"),
        ImageContent(data="aGVsbG8=", mime_type="image/png"),
        AudioContent(data="aGVsbG8=", mime_type="audio/wav"),
        ResourceLink(name="notes", uri="file:///notes"),
        EmbeddedResource(resource=TextResourceContents(uri="file:///a", text="inside")),
        EmbeddedResource(resource=BlobResourceContents(uri="file:///b", blob="aGVsbG8=")),
    ]
    text = call_result(CallToolResult(content=content), 1000).text
    assert text.split("\n\n") == [
        "Hello",
        "[image: image/png, 5 bytes]",
        "[audio: audio/wav, 5 bytes]",
        "[resource: notes, file:///notes]",
        "[resource: file:///a]\ninside",
        "[resource: file:///b, binary, 5 bytes]",
    ]


PNG = b"\x89PNG\r\n\x1a\n"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_images_are_kept_beside_the_text_with_the_type_that_their_bytes_have() -> None:
    content = [
        ImageContent(data=encoded(b"\xff\xd8\xff"), mime_type="image/png"),
        EmbeddedResource(resource=BlobResourceContents(uri="file:///a", mime_type="image/png", blob=encoded(PNG))),
    ]
    result = call_result(CallToolResult(content=content), 1000)
    assert [image.type for image in result.images] == ["image/jpeg", "image/png"]
    assert result.text.startswith("[image: image/png, 3 bytes]")


@pytest.mark.parametrize(
    "item",
    [
        ImageContent(data=encoded(b"<svg/>"), mime_type="image/svg+xml"),
        ImageContent(data="no base64!", mime_type="image/png"),
        ImageContent(data=encoded(PNG + bytes(MAX_IMAGE_BYTES)), mime_type="image/png"),
        EmbeddedResource(resource=TextResourceContents(uri="file:///a", mime_type="image/png", text="text")),
        EmbeddedResource(resource=BlobResourceContents(uri="file:///a", mime_type="application/pdf", blob=encoded(PNG))),
    ],
)
def test_what_is_no_image_or_too_large_is_only_noted(item: ImageContent | EmbeddedResource) -> None:
    result = call_result(CallToolResult(content=[item]), 1000)
    assert result.images == ()
    assert result.text


def test_a_result_has_a_few_images() -> None:
    many = CallToolResult(content=[ImageContent(data=encoded(PNG), mime_type="image/png")] * (MAX_IMAGES + 1))
    result = call_result(many, 1000)
    assert (len(result.images), result.text.count("[image:")) == (MAX_IMAGES, MAX_IMAGES + 1)


def test_structured_results_and_empty_ones_are_said() -> None:
    assert call_result(CallToolResult(content=[], structured_content={"a": 1}), 100).text == '{"a": 1}'
    assert call_result(CallToolResult(content=[], is_error=True), 100) == call_result(CallToolResult(content=[], is_error=True), 100)
    assert call_result(CallToolResult(content=[]), 100).text == "[The tool returned nothing.]"


def test_many_items_and_long_texts_are_cut() -> None:
    many = CallToolResult(content=[TextContent(text=str(number)) for number in range(MAX_ITEMS + 5)])
    assert call_result(many, 10_000).text.endswith("[5 more items are not shown]")
    assert "cut here: 90 more characters" in call_result(CallToolResult(content=[TextContent(text="x" * 100)]), 10).text
