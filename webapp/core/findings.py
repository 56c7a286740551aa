"""Define the findings of `manage.py doctor`. An app's config may define `examine()`, which yields findings about the app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One checked subject: its state, and the advice, which is empty if nothing is wrong."""

    level: Level
    subject: str
    state: str
    advice: str = ""
