"""Bounds that keep the cost of Markdown in proportion to its length: past them a text is shown as it was written.

Each bound depends on the text before a place only, so that a stream and the whole text reach it at the same place.
"""

from __future__ import annotations

from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from webapp.rendering.scripts import InlineState

MARKS = "[]()!<&*_~`$@:\\^"
MAX_MARKS = 1000
"""Characters with a meaning in one paragraph or cell. Prose has a few dozen; each opener without an end is searched to the end."""
FIRST_MARKS, CHARS_PER_MARK = 4000, 10
"""In the whole text: so many, and one more for each ten characters."""
MAX_CELLS = 12_000
"""Cells of all tables, with those that fill up rows shorter than the head."""


def bounded_inline(state: StateCore) -> None:
    """Parse the inline text of all blocks: markdown-it's core rule `inline`, within the bounds on marks."""
    left: int = state.env.get("marks", FIRST_MARKS)
    for token in state.tokens:
        if token.type != "inline":
            continue
        token.children = token.children or []
        marks = sum(map(token.content.count, MARKS))
        left += len(token.content) // CHARS_PER_MARK - marks
        if marks > MAX_MARKS or left < 0:
            token.children.append(Token("text", "", 0, content=token.content))
        else:
            _parse(token, state)
    state.env["marks"] = left


def _parse(token: Token, state: StateCore) -> None:
    inline = state.md.inline
    text = InlineState(token.content, state.md, state.env, token.children or [])
    inline.tokenize(text)
    for rule in inline.ruler2.getRules(""):
        rule(text)
    token.children = text.tokens


def bounded_table(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001 - markdown-it's signature
    """Parse a table: markdown-it's block rule `table`, within the bound on cells. The rows over it follow as text."""
    if silent or start + 2 > end:
        return table(state, start, end, silent)
    columns = state.src.count("|", state.bMarks[start + 1], state.eMarks[start + 1]) or 1
    left: int = state.env.get("cells", MAX_CELLS)
    rows = left // columns
    if rows < 2 or not table(state, start, min(end, start + rows), silent):
        return False
    state.env["cells"] = left - columns * (state.line - start)
    return True
