"""Task lists: `- [ ] to do`, `- [x] done`.

In one pass over the tokens: the rule of mdit-py-plugins searches the list of each item from the start, which is quadratic.
"""

from __future__ import annotations

import re

from markdown_it.rules_core import StateCore
from markdown_it.token import Token

_BOX = re.compile(r"\[([ xX])\]\s")


def task_lists(state: StateCore) -> None:
    """Put a checkbox in the place of the brackets, and classes on the item and its list: a core rule after `inline`."""
    lists: list[Token] = []
    for number, token in enumerate(state.tokens):
        if token.type in {"bullet_list_open", "ordered_list_open"}:
            lists.append(token)
        elif token.type in {"bullet_list_close", "ordered_list_close"}:
            lists.pop()
        elif token.type == "inline" and lists and state.tokens[number - 2].type == "list_item_open" and (box := _BOX.match(token.content)):
            state.tokens[number - 2].attrSet("class", "task-list-item")
            lists[-1].attrSet("class", "contains-task-list")
            _tick(token, done=box[1] != " ")


def _tick(token: Token, *, done: bool) -> None:
    children = token.children or []
    if children and children[0].type == "text":
        children[0].content = children[0].content[3:]
        children.insert(0, Token("html_inline", "", 0, content=f'<input type="checkbox" disabled=""{" checked" * done}>'))
