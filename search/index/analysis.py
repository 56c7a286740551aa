"""Turn text into the tokens of the full-text index, the same for SQLite and PostgreSQL.

Tokens are folded words without accents, stemmed by the language of the text. Scripts without spaces (Chinese, Japanese, Korean, Thai, Lao,
Khmer, Burmese) give overlapping pairs of characters. Parts of compounds (German, Dutch, Scandinavian, Finnish, Hungarian) and Hebrew words
without their prefixes go to a second list, which counts less.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

MAX_TOKEN_CHARS = 64
MIN_COMPOUND_CHARS = 8
MIN_PART_CHARS = 4
SAMPLE_CHARS = 4000
MIN_COMMON_WORDS = 2
# Scripts written without spaces between words; Hangul has spaces, but particles cling to its words.
_SPACELESS = (
    "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uac00-\ud7a3\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\U00020000-\U0003ffff"
)
SPACELESS = re.compile(f"[{_SPACELESS}]")
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff"
RUN = re.compile(f"(?P<spaceless>[{_SPACELESS}]+)|(?P<word>(?:(?![{_SPACELESS}])[\\w{_MARKS}])+)")
CLUSTER = re.compile(r"[^\W_][\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd\u102b-\u103e\u17b4-\u17d3]*")
MARKS_OF_ABJADS = re.compile("[\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed]")
ARABIC = re.compile("[\u0600-\u06ff]")
ARABIC_FORMS = str.maketrans("أإآٱىة", "اااايه")
HEBREW = re.compile("[\u05d0-\u05ea]")
HEBREW_PREFIXES = "משהוכלב"
COMPOUNDING = frozenset({"german", "dutch", "swedish", "danish", "norwegian", "finnish", "hungarian"})
STEMMERS_BY_SCRIPT = {"CYRILLIC": "russian", "GREEK": "greek", "ARABIC": "arabic", "DEVANAGARI": "hindi", "ARMENIAN": "armenian"}
COMMON_WORDS = {
    "english": "the of and to in is that for it with as was on be are this by not you or from at which have an they",
    "german": "der die das und ist nicht von den mit für auf ein eine im dem des sich auch wird werden bei oder wie zu sind es aus nach",
    "french": "le la les de des et est une dans pour que qui du sur pas par plus sont avec au aux ce il nous vous ou",
    "spanish": "el la los las de y que en un una es por con para del se no al lo su como más o este pero",
    "italian": "il di che la e un una per non sono del della con le dei nel è alla si gli da più come anche",
    "portuguese": "o a os as de que e do da em um uma para com não por mais dos das se na no ao são como",
    "dutch": "de het een van en is dat niet op te zijn voor met die aan er om ook als bij maar worden wordt naar",
    "swedish": "och att det som en är på för av med den till inte har om ett vi kan ska från var",
    "danish": "og at det som en er på for af med den til ikke har om et vi kan skal fra der",
    "norwegian": "og å det som en er på for av med den til ikke har om et vi kan skal fra der",
    "finnish": "ja on ei se että oli hän mutta tai kun niin myös ovat jos kuin sekä joka voi mukaan",
    "hungarian": "a az és hogy nem is egy van ez meg de ha csak vagy már még mint el kell lehet",
    "polish": "i w na nie z się do to że jest o jak po od za przez oraz dla lub są",
    "romanian": "și de la în a nu cu pe care este o un din pentru că sau mai să ce",
    "turkish": "ve bir bu için ile de da olan olarak çok daha gibi ne en kadar var ya",
    "czech": "a se v na je že s z do o k i ve pro jako za by nebo podle jsou",
}
# A word that is in both tables counts twice.
QUESTION_WORDS = {
    "english": "any a are can could did do does has how i if into is my s should so some t there what when where which who why will would",
    "german": "wie was wann wo warum wieso wer welche welcher welches kann können soll muss ich mein meine man",
    "french": "comment quand où pourquoi qui quel quelle quels quelles puis peut faut je mon ma mes y",
    "spanish": "cómo qué cuándo cuál dónde quién puedo puede debo hay mi mis",
    "italian": "come cosa quando dove perché chi quale posso può mio mia mi",
    "portuguese": "como quando onde porquê quem qual posso pode meu minha",
    "dutch": "hoe wat wanneer waar waarom wie welke kan kunnen moet ik mijn",
}
_COMMON = {language: frozenset(words.split()) for language, words in COMMON_WORDS.items()}
LATIN_LANGUAGES = tuple(COMMON_WORDS)
UMLAUTS = (("ae", "a"), ("oe", "o"), ("ue", "u"))
_local = threading.local()


@dataclass(frozen=True, slots=True)
class IndexWords:
    """Hold the tokens of a passage, separated by spaces: of its heading and its text, and the parts of their words."""

    heading: str
    text: str
    parts: str


def index_words(heading: str, text: str) -> IndexWords:
    """Return the tokens of a passage."""
    language = find_language(text if len(text) > len(heading) else f"{heading}\n{text}")
    parts: dict[str, None] = {}
    return IndexWords(" ".join(_tokens(heading, language, parts)), " ".join(_tokens(text, language, parts)), " ".join(parts))


def find_language(text: str) -> str:
    """Return the language of a text in a script with many languages, by its commonest words; English where they do not tell."""
    words = re.findall(r"[^\W\d_]+", text[:SAMPLE_CHARS].lower())
    counts = Counter({language: sum(word in common for word in words) for language, common in _COMMON.items()})
    language, count = counts.most_common(1)[0]
    return language if count >= MIN_COMMON_WORDS and count > counts["english"] else "english"


MAX_FOREIGN_SHARE = 0.1
_LANGUAGES: dict[str, list[str]] = {}
for _table in (COMMON_WORDS, QUESTION_WORDS):
    for _language, _words in _table.items():
        for _word in _words.split():
            _LANGUAGES.setdefault(_word, []).append(_language)


def may_be_english(text: str) -> bool:
    """Return whether a query or the beginning of a text may be English: in ASCII, without more common words of another language."""
    if not text.isascii() and sum(char > "\x7f" and char.isalpha() for char in text) > len(text) * MAX_FOREIGN_SHARE:
        return False
    counts = Counter(language for word in re.findall(r"[^\W\d_]+", text.lower()) for language in _LANGUAGES.get(word, ()))
    english = counts.pop("english", 0)
    return english > max(counts.values(), default=0) or not counts


LANGUAGES_BY_SCRIPT = {
    "CYRILLIC": "russian",
    "ARABIC": "arabic",
    "HANGUL": "korean",
    "HIRAGANA": "japanese",
    "KATAKANA": "japanese",
    "CJK": "chinese",
}


def language_of(text: str) -> str:
    """Return the language of a query or of the beginning of a text, by its script and its common words; empty where they do not tell."""
    scripts = Counter(_script(char.lower()) for char in text if char.isalpha())
    if not scripts:
        return ""
    if scripts["HIRAGANA"] + scripts["KATAKANA"] + scripts["KATAKANA-HIRAGANA"] > scripts["LATIN"] / 8:
        return "japanese"
    script = max(scripts, key=lambda name: scripts[name] * (3 if name in {"CJK", "HANGUL"} else 1))
    if script != "LATIN":
        return LANGUAGES_BY_SCRIPT.get(script, "")
    counts = Counter(language for word in re.findall(r"[^\W\d_]+", text.lower()) for language in _LANGUAGES.get(word, ()))
    [(language, count), (_, second)] = [*counts.most_common(2), ("", 0), ("", 0)][:2]
    return language if count > second else ""


def fold(word: str) -> str:
    """Return a word without case, accents and optional marks: `Straße` is `strasse`, `é` is `e`."""
    word = unicodedata.normalize("NFKC", word).casefold()
    if word.isascii():
        return word
    word = MARKS_OF_ABJADS.sub("", word)
    if ARABIC.search(word):
        return word.translate(ARABIC_FORMS)
    decomposed = unicodedata.normalize("NFD", word)
    if any("\u0300" <= char <= "\u036f" for char in decomposed):
        word = unicodedata.normalize("NFC", "".join(char for char in decomposed if not "\u0300" <= char <= "\u036f"))
    return word.replace("ø", "o").replace("æ", "ae").replace("œ", "oe").replace("ł", "l").replace("đ", "d").replace("ı", "i")


@lru_cache(maxsize=200_000)
def stem(word: str, language: str) -> str:
    """Return the folded stem of a word (NFKC, lower case) by the Snowball stemmer of a language."""
    language = STEMMERS_BY_SCRIPT.get(_script(word), language)
    if HEBREW.search(word):
        return fold(word)
    return _safe(fold(_stemmer(language).stemWord(MARKS_OF_ABJADS.sub("", word))))


def _stemmer(language: str) -> Any:
    """Return this thread's stemmer: one must not be used by two threads at once."""
    import Stemmer

    known: dict[str, Any] = _local.__dict__.setdefault("stemmers", {})
    if language not in known:
        known[language] = Stemmer.Stemmer(language)
    return known[language]


def _script(word: str) -> str:
    first = word[:1]
    return "LATIN" if first.isascii() else unicodedata.name(first, "LATIN").partition(" ")[0]


def _safe(token: str) -> str:
    """Return a token that every database keeps whole. They disagree about combining marks: such a token is spelled in hexadecimal."""
    if any(unicodedata.category(char).startswith("M") for char in token if not char.isascii()):
        return _spelled(token)
    return token[:MAX_TOKEN_CHARS]


def _spelled(token: str) -> str:
    return "u" + "".join(f"{ord(char):x}" for char in token)[: MAX_TOKEN_CHARS - 1]


def runs(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the words of a text, and runs of scripts without spaces (True), lower case and compatibility forms unified."""
    normal = unicodedata.normalize("NFKC", text).lower().replace("\u00ad", "").replace("\u200b", "").replace("\u200c", "")
    for found in RUN.finditer(normal):
        if found["spaceless"]:
            yield found["spaceless"], True
        else:
            yield from ((piece, False) for piece in found["word"].split("_") if piece)


def pairs(run: str) -> list[str]:
    """Return the tokens of a run without spaces: each pair of neighboring characters, then the last character."""
    clusters = CLUSTER.findall(run)
    return [_spelled(first + second) for first, second in pairwise(clusters)] + [_spelled(each) for each in clusters[-1:]]


def _tokens(text: str, language: str, parts: dict[str, None]) -> Iterator[str]:
    for run, spaceless in runs(text):
        if spaceless:
            yield from pairs(run)
            continue
        word = run[:MAX_TOKEN_CHARS]
        yield stem(word, language)
        for part in _parts(word, language):
            parts[part] = None


@lru_cache(maxsize=100_000)
def _parts(word: str, language: str) -> tuple[str, ...]:
    """Return the ends of a compound, or a Hebrew word without its prefixes: a search finds the word by them, too."""
    if HEBREW.match(word):
        bare = fold(word)
        return tuple(bare[cut:] for cut in (1, 2) if len(bare) - cut >= 2 and all(char in HEBREW_PREFIXES for char in bare[:cut]))
    if language not in COMPOUNDING or len(word) < MIN_COMPOUND_CHARS or not word.isalpha() or _script(word) != "LATIN":
        return ()
    ends = (word[cut:] for cut in range(MIN_PART_CHARS, len(word) - MIN_PART_CHARS + 1))
    return (fold(word), *dict.fromkeys(stem(end, language) for end in ends))


def query_stems(word: str) -> list[str]:
    """Return the tokens that a word of a query may stand as in the index, whatever the language of the text: the English one first."""
    script = _script(word)
    if script != "LATIN":
        return list(dict.fromkeys([stem(word, "english"), _safe(fold(word))]))
    spellings = [word, *_other_spellings(word)]
    return list(dict.fromkeys(stem(spelling, language) for spelling in spellings for language in LATIN_LANGUAGES))


def _other_spellings(word: str) -> Iterator[str]:
    """Yield a German word with its umlauts written the other way: `Mueller` and `Müller`."""
    if any(char in word for char in "äöü"):
        yield word.replace("ä", "ae").replace("ö", "oe").replace("ü", "ue")
    elif any(pair in word for pair, _ in UMLAUTS) and word.isascii():
        spelled = word
        for pair, letter in UMLAUTS:
            spelled = re.sub(f"(?<![aeq]){pair}", letter, spelled)
        yield spelled
