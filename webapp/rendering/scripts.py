"""Scripts that are written without spaces between words: emphasis and links must work next to their letters."""

from __future__ import annotations

import re

from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Scanned

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u1100-\u11ff\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef"  # Chinese, Japanese, Korean
    "\U0001b000-\U0001b2ff\U00020000-\U0003ffff"
)
"""Ranges for a character class: letters and punctuation of these scripts."""
_UNSPACED = re.compile(f"[{UNSPACED}]")


def is_unspaced(char: str) -> bool:
    """Return whether the character belongs to a script without spaces between words."""
    return char > "\u0dff" and _UNSPACED.match(char) is not None


class InlineState(StateInline):
    """markdown-it's inline state, with emphasis that opens and closes next to Chinese, Japanese, Korean or Thai letters.

    CommonMark takes `**注意：**请` for no emphasis, since punctuation stands within the asterisks and a letter after them. The amendment is
    the one of the specification "CommonMark for CJK" (github.com/tats-u/markdown-cjk-friendly).
    """

    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:  # noqa: N802, N803, FBT001 - markdown-it's names
        """Return how many markers begin at `start`, and whether they may open and close emphasis."""
        end = start
        while end < self.posMax and self.src[end] == self.src[start]:
            end += 1
        before = self.src[start - 1] if start else " "
        after = self.src[end] if end < self.posMax else " "
        left, right = _flanks(after, before), _flanks(before, after)
        if canSplitWord:
            return Scanned(left, right, end - start)
        return Scanned(left and (not right or _is_punctuation(before)), right and (not left or _is_punctuation(after)), end - start)


def _flanks(inner: str, outer: str) -> bool:
    """Return whether markers between `outer` and `inner` belong to what follows on the inner side."""
    if isWhiteSpace(ord(inner)):
        return False
    if not _is_punctuation(inner) or is_unspaced(inner):
        return True
    return isWhiteSpace(ord(outer)) or _is_punctuation(outer) or is_unspaced(outer)


def _is_punctuation(char: str) -> bool:
    return isMdAsciiPunct(ord(char)) or isPunctChar(char)
