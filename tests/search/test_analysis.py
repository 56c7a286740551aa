"""The tokens of the full-text index, by language and script."""

from __future__ import annotations

import pytest

from search.index.analysis import find_language, fold, index_words, language_of
from search.index.base import terms

TEXTS = {
    "japanese": "在庫管理の説明です。返品の手順は第三章を参照。",
    "chinese": "付款期限为三十天，请在收到发票后付款。",
    "korean": "반품은 삼십일 이내에 가능합니다. 문서를 검색을 통해 찾습니다.",
    "thai": "การชำระเงินภายในสามสิบวันหลังจากได้รับใบแจ้งหนี้",
    "german": "Die Kündigungsfristen sind in der Anlage und nicht im Vertrag. Die Hauptstraße ist für Rechnungen da, sagt Müller.",
    "arabic": "يتم الدفع خلال ثلاثين يوما من استلام الفاتورة.",
    "hebrew": "התשלום יבוצע בתוך שלושים יום, והחשבונית תישלח לבית.",
    "french": "Les élèves sont dans la cour et les factures des clients sont payées.",
    "russian": "Отчёт о продажах за третий квартал.",
    "hindi": "भुगतान तीस दिनों के भीतर किया जाना चाहिए।",
    "identifier": "See ticket PROJ-4711 and set config.max_size in src/app/main.py.",
}
FOUND = [
    ("japanese", "返品"),
    ("japanese", "在庫"),
    ("japanese", "在庫管理"),
    ("chinese", "付款期限"),
    ("chinese", "发票"),
    ("korean", "검색"),
    ("korean", "반품"),
    ("thai", "ใบแจ้งหนี้"),
    ("thai", "ชำระเงิน"),
    ("german", "Kündigungsfrist"),
    ("german", "kundigungsfrist"),
    ("german", "Frist"),
    ("german", "Kündigung"),
    ("german", "Straße"),
    ("german", "STRASSE"),
    ("german", "Rechnung"),
    ("german", "Mueller"),
    ("arabic", "فاتورة"),
    ("arabic", "الفَاتُورَة"),
    ("hebrew", "חשבונית"),
    ("hebrew", "תשלום"),
    ("french", "eleve"),
    ("french", "payée"),
    ("russian", "отчет"),
    ("russian", "продажа"),
    ("hindi", "भुगतान"),
    ("identifier", "PROJ-4711"),
    ("identifier", "config.max_size"),
    ("identifier", "main.py"),
]


def tokens(text: str) -> set[str]:
    words = index_words("", text)
    return {*words.text.split(), *words.parts.split()}


@pytest.mark.parametrize(("text", "query"), FOUND)
def test_a_word_of_a_query_is_a_token_of_the_text(text: str, query: str) -> None:
    asked = terms(query + " ")
    known = tokens(TEXTS[text])
    assert known & set(asked.words) or any(token.startswith(beginning) for token in known for beginning in asked.beginnings)


@pytest.mark.parametrize(
    ("text", "query"), [("japanese", "品返"), ("chinese", "期票"), ("german", "Brücke"), ("english", "art"), ("hebrew", "ספר")]
)
def test_another_word_is_not(text: str, query: str) -> None:
    asked = terms(query + " ")
    assert not tokens(TEXTS.get(text, "The party starts and it is in the garden.")) & set(asked.words)


@pytest.mark.parametrize("text", sorted(TEXTS))
def test_tokens_hold_letters_and_digits_alone(text: str) -> None:
    """Both databases cut at anything else, at combining marks for example, and each at other places."""
    assert [token for token in tokens(TEXTS[text]) if not token.isalnum()] == []


@pytest.mark.parametrize(
    ("query", "phrase"), [("PROJ-4711", ("proj", "4711")), ("config.max_size", ("config", "max", "size")), ('"big cats"', ("big", "cat"))]
)
def test_identifiers_and_quoted_words_are_phrases(query: str, phrase: tuple[str, ...]) -> None:
    assert phrase in terms(query).phrases


@pytest.mark.parametrize("text", ["german", "french"])
def test_the_language_of_a_text_is_found(text: str) -> None:
    assert find_language(TEXTS[text]) == text


def test_a_text_that_does_not_tell_its_language_counts_as_english() -> None:
    assert find_language("x = 1") == "english"


def test_folding_ignores_case_accents_and_marks() -> None:
    assert [fold(word) for word in ("STRASSE", "Straße", "É", "שָׁלוֹם", "ﬁne")] == ["strasse", "strasse", "e", "שלום", "fine"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How do I change the settings?", "english"),
        ("Wie ändere ich die Einstellungen?", "german"),
        ("¿Cómo puedo instalar el programa?", "spanish"),
        ("設定を変更するにはどうすればよいですか？", "japanese"),
        ("WeeChat を選ぶ理由は何ですか?", "japanese"),
        ("如何更改设置？", "chinese"),
        ("كيف أستخدم WeeChat؟", "arabic"),
        ("В чём разница?", "russian"),
        ("PROJ-4711", ""),
        ("42 + ?", ""),
    ],
)
def test_the_language_of_a_text_is_told_by_its_script_and_common_words(text: str, language: str) -> None:
    assert language_of(text) == language
