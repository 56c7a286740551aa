"""Fill prompts with variables: the composer asks for each `{{name}}` before the prompt is used."""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_VARIABLES = 20
VARIABLE = re.compile(r"\{\{\s*([\w][\w .-]{0,39}?)\s*\}\}")
COMMANDS = ("new", "model", "system", "stop", "search", "prompts")
"""Names that the composer uses itself."""


def variables(text: str) -> list[str]:
    """Return the variables of a prompt in their order, each once."""
    return list(dict.fromkeys(VARIABLE.findall(text)))[:MAX_VARIABLES]


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return the text with its variables replaced in one pass, so values are never expanded. Variables without a value stay."""
    return VARIABLE.sub(lambda found: values.get(found[1], found[0]), text)
