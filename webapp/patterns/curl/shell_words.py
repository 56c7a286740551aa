"""Split a pasted shell command into words: enough of POSIX and bash quoting for documentation and browsers."""

from __future__ import annotations

import re
import sys

from webapp.patterns.errors import InputError

_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "e": "\x1b",
    "E": "\x1b",
    **{c: c for c in "'\"\\?"},
}
_NUMBERED = re.compile(r"x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|([0-7]{1,3})")
_HEREDOC = re.compile(r"<<(-?)\s*(['\"]?)(\w+)\2[^\n]*\n(.*?)\n\t*\3[ \t]*(?:\n|$)", re.DOTALL)
_PLAIN = re.compile(r"[^\s'\"\\$;|&<>()#]+")
HEREDOC = "\0heredoc"
"""The word before the text of a here-document."""


def split(text: str) -> list[str]:
    """Return the words of the first command in `text`. Variables stay as written; a here-document becomes the last two words.

    Raises:
        InputError: a quote is not closed.
    """
    return _Splitter(text).words()


class _Splitter:
    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n").replace("\0", "").strip()  # without NUL nothing looks like `HEREDOC`
        if re.match(r"[$%#>] ", self.text):
            self.text = self.text[2:]
        if "^\n" in self.text:  # copied for Windows' cmd
            self.text = re.sub(r"\^(\n\s*|.)", lambda found: " " if found[1].startswith("\n") else found[1], self.text)
        self.at = 0
        self.word: str | None = None
        self.found: list[str] = []

    def words(self) -> list[str]:
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in ";|&\n)" or (char == "#" and self.word is None):
                break
            if char == "<" and (document := _HEREDOC.match(self.text, self.at)):
                self._end_word()
                self.found += [HEREDOC, document[4]]
                break
            self._step(char)
        self._end_word()
        return self.found

    def _step(self, char: str) -> None:
        if char.isspace():
            self.at += 1
            self._end_word()
        elif char == "'":
            self._add(self._until("'"))
        elif char == '"':
            self._add(self._double())
        elif self.text.startswith("$'", self.at):
            self.at += 1
            self._add(self._ansi())
        elif char == "\\":
            self._escape()
        else:
            plain = _PLAIN.match(self.text, self.at)
            taken = plain[0] if plain else char
            self.at += len(taken)
            self._add(taken)

    def _add(self, text: str) -> None:
        self.word = (self.word or "") + text

    def _end_word(self) -> None:
        if self.word is not None:
            self.found.append(self.word)
            self.word = None

    def _until(self, quote: str) -> str:
        end = self.text.find(quote, self.at + 1)
        if end < 0:
            raise _unclosed(quote)
        inner = self.text[self.at + 1 : end]
        self.at = end + 1
        return inner

    def _escape(self) -> None:
        following = self.text[self.at + 1 : self.at + 2]
        self.at += 2
        if following != "\n":
            self._add(following or "\\")

    def _double(self) -> str:
        out: list[str] = []
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == '"':
                return "".join(out)
            if char == "\\":
                following = self.text[self.at : self.at + 1]
                self.at += 1
                char = {"\n": ""}.get(following, following if following in '"\\$`' else f"\\{following}")
            out.append(char)
        raise _unclosed('"')

    def _ansi(self) -> str:
        out: list[str] = []
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == "'":
                return "".join(out)
            if char == "\\":
                char = self._ansi_escape()
            out.append(char)
        raise _unclosed("$'")

    def _ansi_escape(self) -> str:
        if numbered := _NUMBERED.match(self.text, self.at):
            self.at = numbered.end()
            hexadecimal = numbered[1] or numbered[2] or numbered[3]
            code = int(hexadecimal, 16) if hexadecimal else int(numbered[4], 8) & 0xFF
            return chr(code) if code <= sys.maxunicode else "\ufffd"
        char = self.text[self.at : self.at + 1]
        self.at += 1
        return _ESCAPES.get(char, f"\\{char}")


def _unclosed(quote: str) -> InputError:
    return InputError(f"The command has a quote {quote} that is not closed: copy it whole", code="invalid_curl")
