"""Sizes of images from their first bytes, and what they cost."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.patterns.tokens.counting import count_messages
from webapp.patterns.tokens.image_size import size_of, size_of_data_url

EXIF = b"\xff\xe1" + struct.pack(">H", 60_002) + bytes(60_000)


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\x06\0\0\0" + bytes(40)


def jpeg(width: int, height: int) -> bytes:
    return b"\xff\xd8" + EXIF + b"\xff\xc2" + struct.pack(">HBHH", 17, 8, height, width) + bytes(40)


def webp(kind: bytes, rest: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + kind + b"\0\0\0\0" + rest + bytes(40)


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(640, 480), (640, 480)),
        (b"GIF89a" + struct.pack("<HH", 32, 16) + bytes(40), (32, 16)),
        (jpeg(1024, 768), (1024, 768)),
        (webp(b"VP8X", bytes(4) + (799).to_bytes(3, "little") + (599).to_bytes(3, "little")), (800, 600)),
        (webp(b"VP8L", b"\x2f" + struct.pack("<I", 399 | 299 << 14)), (400, 300)),
        (webp(b"VP8 ", bytes(6) + struct.pack("<HH", 176, 144)), (176, 144)),
        (webp(b"ANIM", bytes(20)), None),
        (b"\xff\xd8no marker", None),
        (b"<svg/>", None),
        (png(0, 10), None),
        (png(640, 480)[:20], None),
        (b"", None),
    ],
)
def test_it_reads_the_size_of_common_formats(data: bytes, size: tuple[int, int] | None) -> None:
    assert size_of(data) == size
    assert size_of_data_url(data_url(data)) == size


def test_other_addresses_and_broken_data_have_no_size() -> None:
    assert size_of_data_url("https://example.com/a.png") is None
    assert size_of_data_url("data:image/png;base64,äöü!") is None
    assert size_of_data_url("data:image/png,plain") is None


@given(st.sampled_from([png(9, 9)[:12], b"GIF87a", b"\xff\xd8\xff", webp(b"VP8X", b""), b""]), st.binary(max_size=60))
def test_no_bytes_make_it_fail(head: bytes, rest: bytes) -> None:
    size = size_of(head + rest)
    assert size is None or min(size) > 0


def cost(model: str, url: str, detail: str | None = None) -> tuple[int, bool]:
    image: dict[str, Any] = {"url": url, **({"detail": detail} if detail else {})}
    with_image = count_messages([{"role": "user", "content": [{"type": "image_url", "image_url": image}]}], model)
    return with_image.tokens - count_messages([{"role": "user", "content": []}], model).tokens, with_image.exact


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        ("gpt-4o", (1024, 1024), None, 765),
        ("gpt-4o", (2048, 4096), "high", 1105),
        ("gpt-4o", (4096, 8192), "low", 85),
        ("gpt-4o", (512, 512), None, 255),
        ("gpt-4o-mini", (1024, 1024), None, 2833 + 4 * 5667),
        ("o1", (1024, 1024), None, 75 + 4 * 150),
        ("gpt-5", (1024, 1024), None, 70 + 4 * 140),
        ("gpt-4.1-mini", (1024, 1024), None, 1659),
        ("o4-mini", (10_000, 10_000), None, 2642),
        ("gpt-5-nano", (32, 32), "low", 3),
    ],
)
def test_images_cost_what_openai_publishes(model: str, size: tuple[int, int], detail: str | None, tokens: int) -> None:
    assert cost(model, data_url(png(*size)), detail) == (tokens, True)


def test_an_image_of_unknown_size_counts_as_the_dearest_and_is_an_estimate() -> None:
    assert cost("gpt-4o", "https://example.com/a.png") == (85 + 8 * 170, False)
    assert cost("gpt-4.1-mini", "https://example.com/a.png") == (2489, False)
    assert cost("gpt-4.1-mini", "https://example.com/a.png", "low") == (415, False)


def test_a_bare_address_and_no_address_at_all_are_taken() -> None:
    def bare(image: Any) -> int:
        return count_messages([{"role": "user", "content": [{"type": "image_url", "image_url": image}]}], "gpt-4o").tokens

    assert bare(data_url(png(512, 512))) == 7 + 255
    assert bare(None) == 7 + 85 + 8 * 170
