"""What keeps the cost of Markdown in proportion to its length: past these bounds a text is shown as it was written."""

from __future__ import annotations

from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

MARKS = "[]()!<&*_~`$@:\\^"
MAX_MARKS = 1000
"""Characters with a meaning in one paragraph or cell. Prose has a few dozen; each opener without an end is searched to the end."""
MARKS_AT_LEAST, CHARS_PER_MARK = 2000, 10
"""In the whole text: so many, and one more for each ten characters."""
MAX_CELLS = 12_000
"""Cells of all tables, with those that rows shorter than the head are filled up with."""


def bounded_inline(state: StateCore) -> None:
    """markdown-it's core rule `inline`, within the bounds on marks."""
    left = MARKS_AT_LEAST + len(state.src) // CHARS_PER_MARK
    for token in state.tokens:
        if token.type != "inline":
            continue
        token.children = token.children or []
        marks = sum(map(token.content.count, MARKS))
        left -= marks
        if marks > MAX_MARKS or left < 0:
            token.children.append(Token("text", "", 0, content=token.content))
        else:
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def bounded_table(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001 - markdown-it's signature
    """markdown-it's block rule `table`, within the bound on cells: what is over it follows as text."""
    if silent or start + 2 > end:
        return table(state, start, end, silent)
    columns = state.src.count("|", state.bMarks[start + 1], state.eMarks[start + 1]) or 1
    left: int = state.env.setdefault("cells", MAX_CELLS)
    rows = left // columns
    if rows < 2 or not table(state, start, min(end, start + rows), silent):
        return False
    state.env["cells"] = left - columns * (state.line - start)
    return True
