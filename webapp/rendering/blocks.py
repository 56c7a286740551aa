"""Markdown that grows: finished blocks are rendered once and frozen, only the open last block is drawn again.

The cost of a token does not grow with the text: parsing begins at the open block, plain words are appended to it as escaped text, and a
block that is dear to render is rendered less often.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

from markdown_it.token import Token

from webapp.rendering.markdown import code_block, parser
from webapp.rendering.sanitize import clean

# Text that cannot change how what stands before it is read: no markup, no line break.
_PLAIN = re.compile(r"[\w ,.;'\"?%()–—’“”…]*")
_CLOSERS = re.compile(r"(?:</[a-z0-9]+>\s*)+$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)\n")
_APPENDABLE = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ul", "ol", "blockquote"}
HEAVY_CHARS = 6000
"""An open block longer than this is to be rendered off the event loop."""
_DUTY = 20
"""A block that took t seconds to render is rendered again after this many times t."""
_CHEAP = 0.002
_LONGEST_REST = 2.0


@dataclass(slots=True)
class Block:
    """A piece of a page that changes until it is frozen.

    `version` counts the changes. A reader who saw version v >= `base` needs only `appended[v - base:]` put at the end of `tail_selector`
    (below the block's element); an older one needs the whole `html`.
    """

    head: str = ""
    tail: str = ""
    tail_selector: str = ""
    version: int = 0
    base: int = 0
    appended: list[str] = field(default_factory=list)

    @property
    def html(self) -> str:
        return f"{self.head}{''.join(self.appended)}{self.tail}"

    def replace(self, html: str) -> None:
        """Draw the block anew; plain text can be appended at the end of its innermost element."""
        closers = _CLOSERS.search(html)
        cut, self.tail_selector = _append_point(html, closers.start()) if closers else (len(html), "")
        self.head, self.tail = html[:cut], html[cut:]
        self._rebase()

    def replace_open(self, head: str, tail: str, selector: str) -> None:
        """HTML in two pieces, between which text may be appended."""
        self.head, self.tail, self.tail_selector = head, tail, selector
        self._rebase()

    def append(self, html: str) -> None:
        """Add HTML at the point where text goes."""
        self.appended.append(html)
        self.version += 1

    def since(self, version: int) -> str | None:
        """What was appended after `version`; None when the block was drawn anew since."""
        return "".join(self.appended[version - self.base :]) if version >= self.base else None

    def _rebase(self) -> None:
        self.version += 1
        self.base = self.version
        self.appended = []


def _append_point(html: str, start: int) -> tuple[int, str]:
    """Where text goes that belongs at the end of `html`, as an offset and as a selector below the block's element."""
    tags = re.findall(r"</([a-z0-9]+)>", html[start:])
    path: list[str] = []
    while tags and tags[-1] in _APPENDABLE:
        path.append(tags.pop())
    cut = len(html)
    for tag in path:
        cut = html.rindex(f"</{tag}>", 0, cut)
    leaf = path[-1] if path else ""
    return (
        (cut, ">" + ">".join(f"{tag}:last-child" for tag in path)) if leaf and leaf not in {"ul", "ol", "blockquote"} else (len(html), "")
    )


class GrowingMarkdown:
    """Text fed piece by piece, as blocks.

    Args:
        clock: seconds, monotonic; it paces the renders of blocks that are expensive.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.blocks: list[Block] = []
        self.due = 0.0
        self._clock = clock
        self._open = ""
        self._pending: list[str] = []
        self._references: dict[str, object] = {}
        self._fence = ""
        self._highlighted = 0
        self._is_open = False

    def feed(self, text: str) -> None:
        """Take in a piece; `update` draws it."""
        self._pending.append(text)

    @property
    def waiting(self) -> bool:
        """Whether there is text that was fed and is not drawn yet."""
        return bool(self._pending)

    @property
    def heavy(self) -> bool:
        """Whether the next update takes so long that it belongs off the event loop."""
        return len(self._open) > HEAVY_CHARS and not self._fence

    def update(self, *, final: bool = False) -> None:
        """Bring the blocks up to what was fed; `final` freezes the last one. Skipped while a dear block rests (see `due`)."""
        if not final and (not self._pending or self._clock() < self.due):
            return
        new = "".join(self._pending)
        self._pending.clear()
        if final or not (self._grow_fence(new) or self._grow_plain(new)):
            self._render(new, final=final)

    def _grow_plain(self, new: str) -> bool:
        if not (self._is_open and self.blocks and self.blocks[-1].tail_selector and _PLAIN.fullmatch(new)):
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

    def _render(self, new: str, *, final: bool) -> None:
        began = self._clock()
        self._open += new
        env = {"references": self._references}
        tokens = parser(footnotes=False).parse(self._open, env)
        groups = _top_level(tokens)
        offset = self._freeze(groups[:-1], env, groups[-1][0] if groups else None)
        if groups:
            self._draw(clean(_html(groups[-1][1], env)))
        self._open = self._open[offset:]
        if final:
            self._is_open = False
            self._open = ""
        elif groups:
            self._watch_fence(groups[-1][1][0])
        cost = self._clock() - began
        self.due = self._clock() + min(cost * _DUTY, _LONGEST_REST) if cost > _CHEAP else 0.0

    def _freeze(self, groups: list[tuple[int, list[Token]]], env: dict[str, dict[str, object]], open_line: int | None) -> int:
        """Render the finished blocks; returns the offset in the open text where the last, open one begins."""
        for _line, tokens in groups:
            self._draw(clean(_html(tokens, env)))
            self._is_open = False
        return _offset_of_line(self._open, open_line) if open_line else 0

    def _draw(self, html: str) -> None:
        if not self._is_open:
            self.blocks.append(Block())
            self._is_open = True
        block = self.blocks[-1]
        if block.html != html:
            block.replace(html)

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


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(fence) and set(stripped) == {fence[0]}


def _top_level(tokens: list[Token]) -> list[tuple[int, list[Token]]]:
    """The tokens of each top-level block, with the line on which it begins."""
    groups: list[tuple[int, list[Token]]] = []
    depth = 0
    for token in tokens:
        if depth == 0 and token.nesting >= 0:
            groups.append((token.map[0] if token.map else 0, []))
        groups[-1][1].append(token)
        depth += token.nesting
    return groups


def _html(tokens: list[Token], env: dict[str, dict[str, object]]) -> str:
    md = parser(footnotes=False)
    return str(md.renderer.render(tokens, md.options, env))


def _offset_of_line(text: str, line: int) -> int:
    offset = 0
    for _ in range(line):
        offset = text.index("\n", offset) + 1
    return offset


def needs_whole(text: str) -> bool:
    """Whether the blocks of a stream may differ from the whole text: footnotes, and links defined after their use."""
    return "[^" in text or "]:" in text
