"""Prompt templates of `/v1/responses`: prompts of the library, with their variables filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from webapp.accounts.models import User
from webapp.core.database import in_database
from webapp.patterns.errors import InputError
from webapp.patterns.responses.items import normalize_input
from webapp.patterns.types import Json
from webapp.ports import prompt_library
from webapp.ports.files_and_batches import ApiError
from webapp.ports.prompt_library import PromptInfo


async def with_prompt(user: User, prompt: Json, items: Sequence[Json]) -> list[Json]:
    """Return a request's items with those that its `prompt` stands for before them.

    Beside input, the prompt's text is a developer message; alone, it is the user's message. Values that are images or files follow the text
    as parts of the same message.

    Raises:
        ApiError: 404 where the user has no prompt of that name.
        InputError: a variable has no value, or a version is asked for.
    """
    name = str(prompt.get("id") or "").removeprefix("/")
    if prompt.get("version"):
        raise InputError("The prompt library keeps one version of each prompt: leave 'version' out.", param="prompt.version")
    found = await in_database(_found, user, name)
    texts, parts = _values(prompt.get("variables"), found)
    content = [{"type": "input_text", "text": _library().fill(found, texts)}, *parts]
    role = "developer" if items and not parts else "user"
    return [*normalize_input([{"role": role, "content": content}]), *items]


def _library() -> prompt_library.PromptLibrary:
    library = prompt_library.library()
    if library is None:
        raise InputError("There is no prompt library here.", param="prompt")
    return library


def _found(user: User, name: str) -> PromptInfo:
    """Return the prompt of that name; the user's own wins over a shared one."""
    prompt = next((each for each in _library().prompts(user) if each.name == name), None)
    if prompt is None:
        raise ApiError(404, f"Prompt with id '{name[:200]}' not found.", param="prompt.id", code="prompt_not_found")
    return prompt


def _values(given: Any, prompt: PromptInfo) -> tuple[dict[str, str], list[Json]]:
    """Return the texts for the variables, and the parts of those that are not texts."""
    variables: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    missing = [name for name in prompt.variables if name not in variables]
    if missing:
        raise InputError(f"The prompt needs values for {', '.join(missing)}.", param="prompt.variables", code="missing_required_parameter")
    texts: dict[str, str] = {}
    parts: list[Json] = []
    for name in prompt.variables:
        value = variables[name]
        if isinstance(value, Mapping) and value.get("type") != "input_text":
            texts[name] = ""
            parts.append(dict(value))
        else:
            texts[name] = str(value.get("text") or "") if isinstance(value, Mapping) else str(value)
    return texts, parts
