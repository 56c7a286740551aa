"""Markdown that grows: finished blocks are rendered once and frozen, and only the open last block is drawn again.

A block is frozen only when nothing that follows can change it. Whole lines decide: a line that is still being written may become anything
("#" may become "#hashtag"). All blocks before the last one that whole lines make are frozen; a display formula without its end takes all
that follows it (`formulas`). Only a link or footnote that is defined after its use changes a frozen block: then all blocks are drawn again.

The cost of a piece does not grow with the text: parsing begins at the open block, plain words are appended to it as escaped text, and a
block that is expensive to render is rendered less often.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from html import escape

from markdown_it.common.utils import normalizeReference
from markdown_it.token import Token

from webapp.rendering.blocks import Block
from webapp.rendering.code import code_block
from webapp.rendering.markdown import MAX_CHARS, Env, Group, html_of, parse, render_blocks
from webapp.rendering.sanitize import clean

# Text that cannot change how the text before it is read: no markup, no line break.
_PLAIN = re.compile(r"[\w ,.;'\"?%()–—’“”…]*")
_FENCE = re.compile(r"(`{3,}(?=[^`\n]*\n)|~{3,})([^\n]*)\n")
_CLOSING_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*")
_EMPTY_LINES = re.compile(r"(?:[ \t]*\n)*")
_BLANK_END = re.compile(r"\n[ \t]*\n\Z")
_CLOSED = frozenset({"heading_open", "hr", "fence", "math_block"})
"""Blocks that end with their last line; a fence does where it has its closing line."""
_CLOSED_BY_BLANK = frozenset({"paragraph_open", "table_open", "blockquote_open"})
HEAVY_CHARS = 6000
"""An open block longer than this is to be rendered off the event loop."""
_DUTY = 20
"""A block that took t seconds to render is rendered again after this many times t."""
_CHEAP = 0.002
_LONGEST_REST = 2.0


class GrowingMarkdown:
    """Text that is fed piece by piece, as blocks of safe HTML.

    `redraws` counts how often all blocks changed: a reader of an earlier count needs everything.

    Args:
        clock: seconds, monotonic; it paces the renders of expensive blocks.
        anchor: makes the ids of footnotes unique on a page.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter, *, anchor: str = "") -> None:
        self.blocks: list[Block] = []
        self.due = 0.0
        self.redraws = 0
        self._clock = clock
        self._env: Env = {"anchor": anchor}
        self._frozen: list[str] = []
        self._open = ""
        self._pending: list[str] = []
        self._fence = ""
        self._highlighted = 0
        self._has_open_block = False
        self._is_stale = False

    def feed(self, text: str) -> None:
        """Take in a piece; `update` draws it."""
        self._pending.append(text)

    @property
    def waiting(self) -> bool:
        """Return whether there is text that was fed and is not drawn yet."""
        return bool(self._pending)

    @property
    def heavy(self) -> bool:
        """Return whether the next update takes so long that it belongs off the event loop."""
        return len(self._open) > HEAVY_CHARS and not self._fence

    def update(self, *, final: bool = False) -> None:
        """Bring the blocks up to the text that was fed; `final` freezes the last one.

        Without `final`, nothing happens while an expensive block rests (see `due`).
        """
        if not final and (not self._pending or self._clock() < self.due):
            return
        new = "".join(self._pending)
        self._pending.clear()
        if final:
            self._open += new
            self._finish()
        elif not (self._grow_fence(new) or self._grow_plain(new)):
            self._render(new)

    def _grow_plain(self, new: str) -> bool:
        """Append plain words to the open block where rendering would do the same."""
        if not (self._has_open_block and self.blocks[-1].ends_in_text and _PLAIN.fullmatch(new)):
            return False
        last_line = self._open[self._open.rfind("\n") + 1 :]
        if not last_line.strip() or len(last_line.split(maxsplit=1)) < 2:
            return False  # the first word of a line decides what the line is
        block = self.blocks[-1]
        lost = "" if block.appended or not self._open.endswith(" ") else " "  # a render leaves the last space out
        self._open += new
        block.append(escape(lost + new, quote=False))
        return True

    def _grow_fence(self, new: str) -> bool:
        """Append lines to the open code block."""
        if not self._fence:
            return False
        tail = self._open[self._open.rfind("\n") + 1 :] + new
        if any(_closes(line, self._fence) for line in tail.split("\n")):
            self._fence = ""
            return False
        self._open += new
        if len(self._open) > 1.5 * self._highlighted and "\n" in new and len(self._open) < HEAVY_CHARS:
            self._highlight_fence()
        else:
            self.blocks[-1].append(escape(new, quote=False))
        return True

    def _render(self, new: str) -> None:
        began = self._clock()
        self._open += new
        if "\n" in new or self._open.endswith(f"\n{new}"):
            self._freeze()
        if self._is_stale:
            self._redraw()
        groups = parse(self._open, env := self._streaming_env())
        self._draw("".join(html_of(group.tokens, env) for group in groups))
        if len(groups) == 1:
            self._watch_fence(groups[0].tokens[0])
        cost = self._clock() - began
        self.due = self._clock() + min(cost * _DUTY, _LONGEST_REST) if cost > _CHEAP else 0.0

    def _freeze(self) -> None:
        """Render the blocks that are finished, and leave the rest as the open text."""
        whole_lines = self._open[: self._open.rfind("\n") + 1]
        groups = parse(whole_lines, self._streaming_env())
        cut = _finished(whole_lines, groups, self._open[len(whole_lines) :])
        if not cut:
            return
        self._draw_finished(whole_lines[:cut])
        blank = _EMPTY_LINES.match(self._open, cut)
        assert blank
        self._frozen.append(self._open[: blank.end()])
        self._open = self._open[blank.end() :]

    def _draw_finished(self, text: str) -> None:
        """Draw finished text; note where it defines what text before it used."""
        known = _labels(self._env)
        for group in parse(text, self._env):
            self._draw(html_of(group.tokens, self._env))
            self._has_open_block = False
        fresh = _labels(self._env) - known
        if fresh and self._frozen:
            before = normalizeReference("".join(self._frozen))
            self._is_stale = self._is_stale or any(f"[{label}]" in before for label in fresh)

    def _finish(self) -> None:
        self._fence = ""
        if not self._frozen:
            self._replace(render_blocks(self._open, anchor=self._env["anchor"]))
        else:
            self._draw_finished(self._open)
            self._frozen.append(self._open)
            if self._has_open_block:
                self._draw("")  # it held a definition, which shows nothing
            if self._is_stale:
                self._redraw()
        self._open = ""
        self._has_open_block = False

    def _redraw(self) -> None:
        """Draw all finished blocks again: a definition changed some of them."""
        text = "".join(self._frozen)
        if len(text) > MAX_CHARS:
            return
        self._env = {"anchor": self._env["anchor"]}
        groups = parse(text, self._env)
        self._replace([html_of(group.tokens, self._env) for group in groups])
        self._is_stale = False

    def _replace(self, htmls: list[str]) -> None:
        if not self.blocks or (len(self.blocks) == len(htmls) == 1):
            for html in htmls:
                self._draw(html)
                self._has_open_block = False
            return
        self.redraws += 1
        self.blocks = []
        self._has_open_block = False
        for html in htmls:
            self._draw(html)
            self._has_open_block = False

    def _draw(self, html: str) -> None:
        """Draw the open block, a new one where none is open."""
        if not self._has_open_block:
            if not html:
                return
            self.blocks.append(Block())
            self._has_open_block = True
        block = self.blocks[-1]
        if block.html != html:
            block.replace(html)

    def _streaming_env(self) -> Env:
        """Return what the open text inherits; it may change it, since it is parsed again."""
        env: Env = {name: value.copy() if isinstance(value, dict | list) else value for name, value in self._env.items()}
        if "footnotes" in env:
            notes = env["footnotes"]
            env["footnotes"] = {"refs": notes["refs"].copy(), "list": {key: note.copy() for key, note in notes["list"].items()}}
        return {**env, "streaming": True}

    def _watch_fence(self, token: Token) -> None:
        opened = _FENCE.match(self._open) if token.type == "fence" else None
        if opened and not any(_closes(line, opened[1]) for line in self._open.split("\n")[1:]):
            self._fence = opened[1]
            self._highlight_fence()

    def _highlight_fence(self) -> None:
        """Draw the open code block with colors; between two such draws, lines are appended without."""
        from webapp.rendering.highlight import highlight

        opened = _FENCE.match(self._open)
        assert opened
        language = opened[2].strip().split(maxsplit=1)[0] if opened[2].strip() else ""
        html = clean(code_block(highlight(self._open[opened.end() :], language), language))
        cut = html.rindex("</code>")
        self.blocks[-1].replace_open(html[:cut], html[cut:], " code:last-child")
        self._highlighted = len(self._open)


def _finished(text: str, groups: list[Group], begun: str) -> int:
    """Return how many characters of whole lines make finished blocks; `begun` is the line after them, as far as it is written."""
    for number, group in enumerate(groups):
        if _may_be_definition(text, group):
            return _offset_of_line(text, groups[number - 1].end) if number else 0
    after_blank = bool(_BLANK_END.search(text))
    begins_paragraph = after_blank and begun[:1].isalpha()  # it continues no list and no note
    if not groups:
        return len(text) if begins_paragraph else 0
    last = groups[-1]
    kind = last.tokens[0].type
    if kind == "math_pending":
        # Without its end, it is text after all, which may continue the block before it.
        return _offset_of_line(text, groups[-3].end) if len(groups) > 2 else 0
    if kind != "fence" or _is_closed(text, last):
        if begins_paragraph:
            return len(text)
        if kind in _CLOSED or (after_blank and kind in _CLOSED_BY_BLANK):
            return _offset_of_line(text, last.end)
    return _offset_of_line(text, groups[-2].end) if len(groups) > 1 else 0


def _may_be_definition(text: str, group: Group) -> bool:
    """Return whether an underlined heading may still become the definition of a link: its title ends at an empty line."""
    opener = group.tokens[0]
    if opener.type != "heading_open" or opener.markup[:1] not in "=-":
        return False
    lines = text.split("\n")
    return lines[group.start].lstrip().startswith("[") and all(line.strip() for line in lines[group.end : -1])


def _is_closed(text: str, fence: Group) -> bool:
    lines = text.split("\n")[fence.start : fence.end]
    return len(lines) > 1 and _closes(lines[-1], fence.tokens[0].markup)


def _closes(line: str, fence: str) -> bool:
    """Return whether a line closes a code block: deeper indented, it is code."""
    found = _CLOSING_FENCE.fullmatch(line)
    return found is not None and found[1][0] == fence[0] and len(found[1]) >= len(fence)


def _labels(env: Env) -> set[str]:
    """Return the labels of links and footnotes that are defined, as `normalizeReference` writes them."""
    notes = env.get("footnotes", {}).get("refs", {})
    return set(env.get("references", {})) | {normalizeReference(f"^{name[1:]}") for name in notes}


def _offset_of_line(text: str, line: int) -> int:
    offset = 0
    for _ in range(line):
        offset = text.index("\n", offset) + 1
    return offset
