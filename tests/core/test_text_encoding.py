"""Bytes of unknown encoding to text."""

from __future__ import annotations

import io

import pytest

from webapp.core.text_encoding import BinaryDataError, decode, detect

LEGACY = [
    ("Отчёт о продажах за третий квартал. Выручка выросла.", "cp1251"),
    ("Отчёт о продажах за третий квартал. Выручка выросла.", "koi8-r"),
    ("Отчёт о продажах за третий квартал. Выручка выросла.", "cp866"),
    ("Zażółć gęślą jaźń. Faktura została wystawiona dnia pierwszego.", "cp1250"),
    ("返品は三十日以内に受け付けます。検索と在庫管理の手順。", "cp932"),
    ("返品は三十日以内に受け付けます。検索と在庫管理の手順。", "euc-jp"),
    ("返品は三十日以内に受け付けます。", "iso2022_jp"),
    ("付款期限为三十天。请在收到发票后尽快付款。", "gb18030"),
    ("付款期限為三十天。請在收到發票後盡快付款。", "big5"),
    ("반품은 삼십일 이내에 가능합니다. 재고 관리 절차.", "cp949"),
    ("Η πληρωμή γίνεται εντός τριάντα ημερών.", "cp1253"),
    ("התשלום יבוצע תוך שלושים יום מקבלת החשבונית.", "cp1255"),
    ("يتم الدفع خلال ثلاثين يوما من استلام الفاتورة.", "cp1256"),
    ("การชำระเงินภายในสามสิบวัน", "cp874"),
    ("Müller;Köln", "cp1252"),
    ("“Größe” – 5 €", "cp1252"),
]


@pytest.mark.parametrize(("text", "encoding"), LEGACY)
def test_an_older_encoding_is_guessed_from_a_sentence(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)).text == text


def test_a_declared_encoding_is_used_and_valid_utf_8_overrides_it() -> None:
    assert decode("jaźń".encode("iso-8859-2"), "iso-8859-2").text == "jaźń"
    assert decode("jaźń".encode(), "iso-8859-2").text == "jaźń"
    assert decode(b"\x93x\x94", "ISO-8859-1").text == "“x”"
    assert decode(b"caf\xe9", "no-such-encoding").text == "café"


@pytest.mark.parametrize(
    ("raw", "text", "replaced"),
    [
        ("Größe Straße Öl ".encode() + b"\xff" + "ä".encode(), "Größe Straße Öl \ufffdä", 1),
        (b"Stra\xc3", "Stra\ufffd", 1),
        ("a\ufffdb".encode(), "a\ufffdb", 0),
    ],
)
def test_a_bad_byte_costs_one_character(raw: bytes, text: str, replaced: int) -> None:
    decoded = decode(raw)
    assert (decoded.text, decoded.replaced) == (text, replaced)


def test_binary_data_is_refused() -> None:
    for raw in (bytes(range(256)) * 20, b"MZ\x00\x01\xff", b"\x00" * 100):
        with pytest.raises(BinaryDataError):
            decode(raw)


def test_a_large_file_is_read_in_blocks_until_its_first_other_byte() -> None:
    file = io.BytesIO(b"plain words\n" * 200_000 + "Jürgen\n".encode("cp1252"))
    assert (detect(file), file.tell()) == ("cp1252", 0)
    assert detect(io.BytesIO("Jürgen\n".encode() * 200_000)) == "utf-8"
