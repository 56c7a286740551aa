"""Let other apps read the prompt library without importing the app that owns it.

The app that keeps prompts registers a reader in `AppConfig.ready()`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from webapp.accounts.models import User


@dataclass(frozen=True, slots=True)
class PromptInfo:
    """Describe a prompt. `variables` are the names that its text asks for."""

    name: str
    text: str
    variables: Sequence[str]


class PromptLibrary(Protocol):
    """Read the prompts that a user may use. The methods are synchronous and use the ORM."""

    def prompts(self, user: User) -> Sequence[PromptInfo]:
        """Return the user's own prompts and the shared ones, each name once, by name."""

    def fill(self, prompt: PromptInfo, values: Mapping[str, str]) -> str:
        """Return the prompt's text with its variables replaced."""


class _Registered:
    library: PromptLibrary | None = None


def register(library: PromptLibrary) -> None:
    """Have prompts read through `library`."""
    _Registered.library = library


def library() -> PromptLibrary | None:
    """Return the registered library; None where no app keeps prompts."""
    return _Registered.library
