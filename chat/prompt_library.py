"""The prompt library for other apps: the implementation of `webapp.ports.prompt_library`."""

from __future__ import annotations

from collections.abc import Mapping

from chat import prompts, selectors
from webapp.accounts.models import User
from webapp.ports.prompt_library import PromptInfo


class Library:
    """Read the prompts that a user may use."""

    def prompts(self, user: User) -> list[PromptInfo]:
        """Return the user's own prompts and the shared ones, by name. The user's own wins over a shared one of the same name."""
        rows = sorted(selectors.prompts(user), key=lambda row: row.user_id == user.pk)
        found = {row.name: PromptInfo(row.name, row.text, prompts.variables(row.text)) for row in rows}
        return [found[name] for name in sorted(found)]

    def fill(self, prompt: PromptInfo, values: Mapping[str, str]) -> str:
        """Return the prompt's text with its variables replaced."""
        return prompts.filled(prompt.text, values)
