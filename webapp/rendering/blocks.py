"""A piece of a page that changes until it is frozen, and the changes that a reader lacks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_CLOSERS = re.compile(r"(?:</[a-z0-9]+>\s*)+$")
_APPENDABLE = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ul", "ol", "blockquote"}
_CONTAINERS = {"ul", "ol", "blockquote"}


@dataclass(slots=True)
class Block:
    """A block of an answer as HTML.

    `version` counts the changes. A reader who saw version v >= `base` needs only `appended[v - base:]`, put at the end of `tail_selector`
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
        """Return the whole block."""
        return f"{self.head}{''.join(self.appended)}{self.tail}"

    @property
    def ends_in_text(self) -> bool:
        """Return whether what is appended continues words, not an element such as a link."""
        return bool(self.tail_selector) and (bool(self.appended) or not self.head.endswith(">"))

    def replace(self, html: str) -> None:
        """Draw the block again; plain text can be appended at the end of its innermost element."""
        closers = _CLOSERS.search(html)
        cut, self.tail_selector = _append_point(html, closers.start()) if closers else (len(html), "")
        self.head, self.tail = html[:cut], html[cut:]
        self._rebase()

    def replace_open(self, head: str, tail: str, selector: str) -> None:
        """Draw the block again, in two pieces between which text may be appended."""
        self.head, self.tail, self.tail_selector = head, tail, selector
        self._rebase()

    def append(self, html: str) -> None:
        """Add HTML at the place where text goes."""
        self.appended.append(html)
        self.version += 1

    def since(self, version: int) -> str | None:
        """Return what was appended after `version`, or None where the block was drawn again since."""
        return "".join(self.appended[version - self.base :]) if version >= self.base else None

    def _rebase(self) -> None:
        self.version += 1
        self.base = self.version
        self.appended = []


def _append_point(html: str, start: int) -> tuple[int, str]:
    """Return where text goes that belongs at the end of `html`: an offset, and a selector below the block's element."""
    tags = re.findall(r"</([a-z0-9]+)>", html[start:])
    path: list[str] = []
    while tags and tags[-1] in _APPENDABLE:
        path.append(tags.pop())
    if not path or path[-1] in _CONTAINERS:
        return len(html), ""
    cut = len(html)
    for tag in path:
        cut = html.rindex(f"</{tag}>", 0, cut)
    return cut, ">" + ">".join(f"{tag}:last-child" for tag in path)
