r"""Formulas in Markdown: `$…$`, `$$…$$`, `\(…\)`, `\[…\]` and LaTeX environments.

A dollar sign is money, a shell variable or part of a pattern more often than a formula: the rules below say when it opens one.
In a stream (`env["streaming"]`), a display formula whose end has not come yet takes all that follows it, within `MAX_MATH_CHARS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

from webapp.rendering.scripts import is_unspaced

MAX_MATH_CHARS = 4000
"""How far the end of a formula may be from its beginning."""
MAX_FORMULAS = 2000
"""Formulas of one text that are converted; those beyond are shown as their source."""
_SILENT = True
_Rule = Callable[[StateBlock, int, int, bool], bool]
_TEX = re.compile(r"[\\^_={}+<>|*/≤≥≠±×÷∈∑∫√π-]|\d\s*[a-zA-Z]\b")
_WORDS = re.compile(r"(?<![\\a-zA-Z])[^\W\d_]{2,}")
_MONEY = re.compile(r"[\d.,]+\s*(?:[kKmMbB]n?|%)?(?:[\s,;:()/–—-]|$)")
_VARIABLE = re.compile(r"\{[A-Za-z_]\w+\}")
_BEFORE_DOLLAR = frozenset(" \t\n([{<\"'“‘«—–-:;,=>*_~.!?")
_ENVIRONMENT = re.compile(r"\\begin\{((?:equation|align|alignat|gather|multline|eqnarray|flalign|split|aligned|gathered)\*?)\}")
_AFTER_BLOCK = re.compile(r"[ \t]*[.,;:。，；：]?[ \t]*")
_SETEXT = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
_MARKS = re.compile(r"(`+)|\\(.)|\$\$", re.DOTALL)


def formulas(md: MarkdownIt) -> None:
    """Add the rules of this module to a parser; the renderer draws `math_inline`, `math_display` and `math_pending`."""
    md.inline.ruler.before("escape", "bracket_math", _bracket_math)
    md.inline.ruler.before("escape", "dollar_math", _dollar_math)
    md.block.ruler.before("fence", "math_block", _math_block, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    md.block.ruler.before("lheading", "math_paragraph", _math_paragraph)


def _bracket_math(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - markdown-it's signature
    r"""`\(x\)` and `\[x\]`, as most models write formulas."""
    opener = state.src[state.pos : state.pos + 2]
    if opener not in {"\\(", "\\["}:
        return False
    closer = "\\)" if opener == "\\(" else "\\]"
    # No further than a formula may be long: else thousands of openers would each scan the whole text for a closer.
    end = _find_closer(state.src, closer, state.pos + 2, min(state.posMax, state.pos + 2 + MAX_MATH_CHARS))
    content = state.src[state.pos + 2 : end].strip() if end >= 0 else ""
    if not content:
        return False
    return _push_inline(state, content, end + 2, display=opener == "\\[", silent=silent)


def _dollar_math(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - markdown-it's signature
    """`$x$`, and `$$x$$` within a paragraph."""
    src, start = state.src, state.pos
    if src[start] != "$":
        return False
    double = src.startswith("$$", start)
    size = 2 if double else 1
    before = src[start - 1] if start else " "
    if src.startswith("$$$", start) or before == "$" or not (before in _BEFORE_DOLLAR or is_unspaced(before)):
        return False
    limit = min(state.posMax, start + size + MAX_MATH_CHARS)
    end = _find_closer(src, "$$", start + 2, limit) if double else _find_dollar(src, start + 1, limit)
    if end < 0:
        return False
    content, after = src[start + size : end], src[end + size : end + size + 1]
    if after == "$" or not (_is_display(content) if double else _is_formula(content, after)):
        return False
    return _push_inline(state, content.strip(), end + size, display=double, silent=silent)


def _push_inline(state: StateInline, content: str, end: int, *, display: bool, silent: bool) -> bool:
    if not silent:
        token = state.push("math_display" if display else "math_inline", "math", 0)
        token.content = content
        token.hidden = not _take(state.env)
    state.pos = end
    return True


def _take(env: MutableMapping[str, Any]) -> bool:
    """Count a formula; return whether it is to be converted."""
    env["formulas"] = env.get("formulas", 0) + 1
    return int(env["formulas"]) <= MAX_FORMULAS


def _find_closer(src: str, closer: str, start: int, limit: int) -> int:
    """Return where `closer` stands first without a backslash before it, or -1."""
    end = src.find(closer, start, limit)
    while end > start and _is_escaped(src, end):
        end = src.find(closer, end + 1, limit)
    return end


def _is_escaped(src: str, at: int) -> bool:
    count = 0
    while at > count and src[at - 1 - count] == "\\":
        count += 1
    return count % 2 == 1


def _find_dollar(src: str, start: int, limit: int) -> int:
    r"""Return the next dollar sign that is neither escaped nor within braces (`\text{if $x$}`), or -1."""
    end = src.find("$", start, limit)
    while end >= 0 and (_is_escaped(src, end) or _is_in_braces(src, start, end)):
        end = src.find("$", end + 1, limit)
    return end


def _is_in_braces(src: str, start: int, end: int) -> bool:
    inside = src[start:end].replace("\\{", "").replace("\\}", "")
    return inside.count("{") > inside.count("}") and "}" in src[end : end + 200]


def _is_display(content: str) -> bool:
    r"""Return whether text between `$$` is a formula, not the text between two price marks or process ids."""
    content = content.strip()
    return bool(content) and "\n\n" not in content and (bool(_TEX.search(content)) or not _WORDS.search(content))


def _is_formula(content: str, after: str) -> bool:
    """Return whether text between two dollar signs is a formula, not money, a variable or part of a pattern."""
    if not content or content[0].isspace() or content[-1].isspace() or "\n\n" in content:
        return False
    if after.isdigit():
        return False  # "$5-$6"
    if after.isalpha() and not is_unspaced(after) and not _is_symbol(content):
        return False  # "$HOME/$USER"
    if _VARIABLE.match(content):
        return False  # "${HOME}/bin:$PATH"
    if content[0] == "|" and content.count("|") % 2 and "\\" not in content:
        return False  # "$|[0-9]$"
    if _MONEY.match(content) and _WORDS.search(content) and "\\" not in content:
        return False  # "$20 and 30$"
    return not (content[0] in "/;&)],.:" or (_WORDS.search(content) and not _TEX.search(content) and " " in content))


def _is_symbol(content: str) -> bool:
    r"""Return whether a formula may have a letter right after it, as in `$n$th` or `$x_i$s`."""
    return len(content) == 1 or (any(mark in content for mark in "\\^_") and " " not in content)


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001 - markdown-it's signature
    """Parse a display formula that begins and ends a line."""
    if state.is_code_block(start):
        return False
    at = state.bMarks[start] + state.tShift[start]
    opener, closer = _block_marks(state.src, at)
    if not opener:
        return False
    found = _block_end(state, start, end, at + len(opener), closer)
    if found is None:
        return False
    if silent:
        return True
    last, content = found
    state.line = end if content is None else last + 1
    token = state.push("math_pending" if content is None else "math_block", "math", 0)
    token.block = True
    token.map = [start, state.line]
    if content is None:
        token.content = state.getLines(start, end, state.sCount[start], keepLastLF=False)
    else:
        token.content = f"{opener}{content}{closer}" if opener.startswith("\\begin") else content.strip()
        token.hidden = not _take(state.env)
    return True


def _block_marks(src: str, at: int) -> tuple[str, str]:
    """Return the opening mark of a display formula at `at` and its closing mark; empty where none begins."""
    if src.startswith("$$", at) and not src.startswith("$$$", at):
        return "$$", "$$"
    if src.startswith("\\[", at):
        return "\\[", "\\]"
    found = _ENVIRONMENT.match(src, at)
    return (found[0], f"\\end{{{found[1]}}}") if found else ("", "")


def _block_end(state: StateBlock, start: int, end: int, at: int, closer: str) -> tuple[int, str | None] | None:
    """Return the line on which a display formula ends, and its content.

    The content is None where the end may still come; the result is None where this is no display formula on lines of its own.
    """
    if not _may_close(state, at, closer):
        return None
    pieces: list[str] = []
    left = MAX_MATH_CHARS
    for line in range(start, end):
        if line > start and not state.isEmpty(line) and state.sCount[line] < state.blkIndent:
            return None  # the list item or quotation ends before the formula
        first = at if line == start else state.bMarks[line] + state.tShift[line]
        text = state.src[first : state.eMarks[line]]
        place = _find_closer(text, closer, 0, len(text))
        if place >= 0:
            rest = text[place + len(closer) :]
            content = "\n".join([*pieces, text[:place]])
            return (line, content) if _AFTER_BLOCK.fullmatch(rest) and _is_block(content, closer) else None
        pieces.append(text)
        left -= len(text) + 1
        if left < 0 or (line > start and not text.strip() and pieces[0].strip()):
            return None
    at_end = end >= len(state.bMarks) - 1
    return (end, None) if state.env.get("streaming") and at_end else None


def _may_close(state: StateBlock, at: int, closer: str) -> bool:
    """Return whether a closing mark comes within the longest formula, or may still come. It spares most openers the search by lines."""
    return state.src.find(closer, at, at + MAX_MATH_CHARS) >= 0 or (
        state.env.get("streaming", False) and len(state.src) - at < MAX_MATH_CHARS
    )


def _is_block(content: str, closer: str) -> bool:
    content = content.strip()
    return bool(content) and (closer != "$$" or bool(_TEX.search(content)) or not _WORDS.search(content))


def _math_paragraph(state: StateBlock, start: int, _end: int, silent: bool) -> bool:  # noqa: FBT001 - markdown-it's signature
    """Parse a paragraph with a display formula over several lines. Its lines that begin with - or + are not lists."""
    if silent or not _has_display_marks(state.src, state.bMarks[start]):
        return False
    last = _last_formula_line(state, start)
    if last is None:
        return False
    rules = state.md.block.ruler.getRules("paragraph")
    parent, state.parentType = state.parentType, "paragraph"
    line = last + 1
    while line < state.lineMax and not state.isEmpty(line) and not _ends_paragraph(state, line, rules):
        line += 1
    state.parentType = parent
    state.line = line
    state.push("paragraph_open", "p", 1).map = [start, line]
    token = state.push("inline", "", 0)
    token.content = state.getLines(start, line, state.blkIndent, keepLastLF=False).strip()
    token.map = [start, line]
    token.children = []
    state.push("paragraph_close", "p", -1)
    return True


def _has_display_marks(src: str, start: int) -> bool:
    """Return whether a mark of a display formula comes before the next empty line."""
    limit = start + 2 * MAX_MATH_CHARS
    end = src.find("\n\n", start, limit)
    end = limit if end < 0 else end
    return src.find("$$", start, end) >= 0 or src.find("\\[", start, end) >= 0


def _last_formula_line(state: StateBlock, start: int) -> int | None:
    """Return the last line of the last formula of a paragraph that goes over a line's end, or None where there is none."""
    rules = state.md.block.ruler.getRules("paragraph")
    parent, state.parentType = state.parentType, "paragraph"
    line, found, text = start, None, ""
    while line < state.lineMax and not state.isEmpty(line):
        if line > start and _ends_paragraph(state, line, rules):
            break
        content = state.getLines(line, line + 1, state.blkIndent, keepLastLF=False)
        if line > start and _SETEXT.match(content):
            break
        text += content + "\n"
        closer = _open_formula(text)
        if closer:
            last = _closing_line(state, line + 1, closer)
            if last is None:
                break
            text, line, found = "", last, last
        line += 1
    state.parentType = parent
    return found


def _ends_paragraph(state: StateBlock, line: int, rules: list[_Rule]) -> bool:
    if state.sCount[line] - state.blkIndent > 3 or state.sCount[line] < 0:
        return False  # a lazy continuation
    return any(rule(state, line, state.lineMax, _SILENT) for rule in rules)


def _open_formula(text: str) -> str:
    r"""Return the closing mark of the display formula that is open at the end of `text`; empty where none is."""
    closer, at = "", 0
    while found := _MARKS.search(text, at):
        at = found.end()
        if found[1]:
            close = re.compile(rf"(?<!`){found[1]}(?!`)").search(text, at) if not closer else None
            at = close.end() if close else at
        elif found[0] == "$$":
            closer = "" if closer == "$$" else closer or "$$"
        elif found[2] == "[":
            closer = closer or "\\]"
        elif found[2] == "]" and closer == "\\]":
            closer = ""
    return closer


def _closing_line(state: StateBlock, line: int, closer: str) -> int | None:
    """Return the line that closes a formula; the last line there is, where a stream may still bring it; None where it is not closed."""
    if line < state.lineMax and not _may_close(state, state.bMarks[line], closer):
        return None
    left = MAX_MATH_CHARS
    while line < state.lineMax and not state.isEmpty(line):
        if state.sCount[line] < state.blkIndent:
            return None
        text = state.src[state.bMarks[line] : state.eMarks[line]]
        if closer in text:
            return line
        left -= len(text)
        if left < 0:
            return None
        line += 1
    return line - 1 if state.env.get("streaming") and line >= len(state.bMarks) - 1 else None
