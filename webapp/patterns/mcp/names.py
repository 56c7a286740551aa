"""Name the tools of many servers so that no two collide and every API accepts the names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

SEPARATOR = "__"
MAX_CHARS = 64
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_-]+")
_HASH_CHARS = 6


def tool_name(server: str, tool: str, taken: Iterable[str] = ()) -> str:
    """Return `server__tool` in the characters and length that OpenAI's API takes.

    A name that had to be changed too much, or that is `taken`, ends with a hash of the original names. The same input gives the same name.
    """
    prefix, rest = _FORBIDDEN.sub("_", server).strip("_") or "server", _FORBIDDEN.sub("_", tool)
    name = f"{prefix}{SEPARATOR}{rest}"
    if len(name) <= MAX_CHARS and name not in set(taken):
        return name
    digest = hashlib.sha256(f"{server}\0{tool}".encode(errors="replace")).hexdigest()[:_HASH_CHARS]
    return f"{name[: MAX_CHARS - _HASH_CHARS - 1]}_{digest}"


def is_remote(name: str) -> bool:
    """Return whether a tool's name is that of a tool server's tool."""
    return SEPARATOR in name
