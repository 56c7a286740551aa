"""List the models of the built-in backend, as its /v1/models returns them."""

from __future__ import annotations

from webapp.builtin import EMBEDDING_MODELS
from webapp.patterns.types import Json

CHAT_MODEL = "patchbay-builtin"
CHAT_WINDOW = 32_768
CREATED = 1_760_000_000
"""Fixed, so that the list is the same on every machine."""


def model(name: str, window: int) -> Json:
    """Return one entry of the list, with the context window under all names that servers use for it."""
    return {
        "id": name,
        "object": "model",
        "created": CREATED,
        "owned_by": "patchbay",
        "context_window": window,
        "max_model_len": window,
    }


MODELS: dict[str, Json] = {CHAT_MODEL: model(CHAT_MODEL, CHAT_WINDOW)}
MODELS |= {name: model(name, embedding.window) for name, embedding in EMBEDDING_MODELS.items()}
