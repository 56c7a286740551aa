"""The outline of an answer within its page, and the direction of its blocks."""

from __future__ import annotations

from markdown_it.rules_core import StateCore

TOP_LEVEL = 3
"""The level of the first heading of an answer: the page has a title (1), and each message a hidden heading (2)."""
_DIRECTED = frozenset({"paragraph_open", "heading_open", "bullet_list_open", "ordered_list_open", "blockquote_open", "table_open"})


def outline(state: StateCore) -> None:
    """Move headings below the message's own, without gaps; the class keeps the level that was written (`heading-1` to `heading-6`).

    `env["outline"]` holds the written levels of the headings that the present place is in.
    """
    path: list[int] = state.env.setdefault("outline", [])
    for token in state.tokens:
        if token.type not in {"heading_open", "heading_close"}:
            continue
        level = int(token.tag[1])
        if token.type == "heading_open":
            while path and path[-1] >= level:
                path.pop()
            path.append(level)
            token.attrSet("class", f"heading-{level}")
        token.tag = f"h{min(TOP_LEVEL - 1 + len(path), 6)}"


def directions(state: StateCore) -> None:
    """Let each top-level block take its direction from its own letters: Arabic and Hebrew begin at the right.

    Blocks within another have no direction of their own: a browser passes over them when it looks for the letters of the outer one.
    """
    for token in state.tokens:
        if token.level == 0 and token.type in _DIRECTED:
            token.attrSet("dir", "auto")
