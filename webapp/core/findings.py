"""What `manage.py doctor` reports. An app's config may have `examine()`, which yields findings about its own part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what it is, how it stands, and what to do about it (empty when nothing)."""

    level: Level
    subject: str
    state: str
    advice: str = ""
