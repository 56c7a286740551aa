"""Decode bytes of unknown encoding: byte-order mark, declaration, UTF-8, then a guess by chardet.

chardet read 30, 27 and 27 of 32 legacy samples of about 100, 40 and 14 characters; charset-normalizer read 26, 23 and 18 (docs/adr/0013).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAMPLE_BYTES = 65_536
BLOCK_BYTES = 1_048_576
MAX_CONTROL_SHARE = 0.02
MIN_UTF16_ZEROS = 0.3
FEW_HIGH_BYTES = 8
WESTERN_CHARS = frozenset("äöüÄÖÜßéèêëàâáçñóôòíìîïúùûæøåÆØÅÉÈÀÇÑãõ§°€£«»„“”‚‘’–—…·•²³µ®©™ ´½¼")
# Browsers read these labels as the larger encoding (WHATWG Encoding Standard); files that say one mostly are the other.
SUPERSETS = {
    "iso-8859-1": "cp1252",
    "latin-1": "cp1252",
    "latin1": "cp1252",
    "us-ascii": "cp1252",
    "ascii": "cp1252",
    "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "x-sjis": "cp932",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "big5": "big5hkscs",
    "macintosh": "mac-roman",
    "x-mac-roman": "mac-roman",
}


class BinaryDataError(ValueError):
    """The bytes are not text."""


@dataclass(frozen=True, slots=True)
class DecodedText:
    """A decoded text.

    Attributes:
        encoding: the Python codec that decoded it.
        guessed: no mark, declaration or valid UTF-8 named the encoding.
        replaced: how many U+FFFD stand for bytes that could not be decoded.
    """

    text: str
    encoding: str
    guessed: bool = False
    replaced: int = 0


def decode(raw: bytes, declared: str = "") -> DecodedText:
    """Decode `raw`, and replace each byte that its encoding does not have.

    Args:
        declared: the encoding that the file itself names. Valid UTF-8 with non-ASCII characters overrides it.

    Raises:
        BinaryDataError: the bytes are not text.
    """
    for mark, encoding in BOMS:
        if raw.startswith(mark):
            return _checked(raw, encoding)
    label = _codec(declared)
    if _is_utf8(raw):
        stateful = "iso2022_jp" if b"\x1b$" in raw or b"\x1b(" in raw else label
        seven_bit = raw.isascii() and (stateful.startswith(("iso2022", "hz", "utf-7")) if stateful else False)
        return _checked(raw, stateful if seven_bit else "utf-8")
    if label and not label.startswith(("utf-16", "utf-32", "utf-8")):
        return _checked(raw, label)
    if (zeros := _utf16(raw)) or _is_nearly_utf8(raw):
        return _checked(raw, zeros or "utf-8")
    return _checked(raw, _guess(raw), guessed=True)


def detect(file: BinaryIO) -> str:
    """Return the codec for a seekable file of any size, reading it in blocks; the file is rewound.

    Raises:
        BinaryDataError: the bytes are not text.
    """
    file.seek(0)
    sample = file.read(BLOCK_BYTES)
    decoder = codecs.getincrementaldecoder("utf-8")()
    block = sample
    while block:
        try:
            decoder.decode(block)
        except UnicodeDecodeError:
            sample = sample if block is sample else sample[:SAMPLE_BYTES] + b"\n" + block
            break
        block = file.read(BLOCK_BYTES)
    file.seek(0)
    return decode(sample).encoding


def _codec(label: str) -> str:
    """Return the Python codec of a declared label; empty where Python has none."""
    name = label.strip().strip("\"'").lower()
    try:
        return SUPERSETS.get(name) or SUPERSETS.get(codecs.lookup(name).name) or codecs.lookup(name).name
    except (LookupError, ValueError):
        return ""


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return raw.count(0) < len(raw) * MIN_UTF16_ZEROS


def _is_nearly_utf8(raw: bytes) -> bool:
    """Tell UTF-8 with a few bad bytes, or cut within a character, from another encoding."""
    text = raw.decode("utf-8", errors="replace")
    bad = text.count("\ufffd")
    good = sum(1 for _ in _multibyte(text))
    # In Windows-1252 these bytes are capital letters, which end no word; `café` in it ends in a small one.
    cut_at_end = bad == 1 and text.endswith("\ufffd") and 0xC2 <= raw[-1] <= 0xDF
    return cut_at_end or (good > 0 and (bad <= good // 4 or bad == 1))


def _multibyte(text: str) -> Iterator[str]:
    return (char for char in text if ord(char) > 127 and char != "\ufffd")


def _utf16(raw: bytes) -> str:
    """Return the byte order of UTF-16 without a mark, by where its zero bytes stand."""
    sample = raw[:SAMPLE_BYTES]
    odd, even = sample[1::2].count(0), sample[0::2].count(0)
    if max(odd, even) <= len(sample) / 2 * MIN_UTF16_ZEROS:
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _guess(raw: bytes) -> str:
    """Guess a legacy encoding. Few accented letters prove little, so Western European ones are then preferred."""
    import chardet

    high = re.findall(rb"[\x80-\xff]", raw)
    western = raw.decode("cp1252", errors="replace")
    if len(high) <= FEW_HIGH_BYTES and all(char in WESTERN_CHARS for char in western if ord(char) > 127):
        return "cp1252"
    found = chardet.detect(_telling(raw))["encoding"] or "cp1252"
    return _codec(found) or "cp1252"


def _telling(raw: bytes) -> bytes:
    """Return a sample that holds non-ASCII bytes: in a long file the first may come late."""
    if len(raw) <= SAMPLE_BYTES:
        return raw
    first = re.search(rb"[\x80-\xff]", raw)
    start = max(0, first.start() - 1000) if first else 0
    return raw[start : start + SAMPLE_BYTES]


def _checked(raw: bytes, encoding: str, *, guessed: bool = False) -> DecodedText:
    """Decode, unify the line ends, replace NULs, and refuse binary data."""
    text = raw.decode(encoding, errors="replace")
    sample = text[:SAMPLE_BYTES]
    most = len(sample) * MAX_CONTROL_SHARE
    controls = sum(1 for char in sample if ord(char) < 32 and char not in "\t\n\r\f\x1b")
    if controls > most or sample.count("\ufffd") > max(2, most):
        raise BinaryDataError("It is binary data, not text")
    replaced = text.count("\ufffd") - (raw.count(b"\xef\xbf\xbd") if encoding.startswith("utf-8") else 0)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    return DecodedText(text, encoding, guessed, replaced)
