"""Read model lists in the forms of various servers."""

from __future__ import annotations

from typing import Any, Final

from webapp.patterns.types import Json, ModelInfo

_WINDOW_NAMES: Final = (
    "context_window",
    "context_length",
    "max_model_len",
    "max_context_length",
    "loaded_context_length",
    "max_input_tokens",
    "n_ctx",
    "n_ctx_train",
)


def read_models(body: Json) -> list[ModelInfo]:
    """Return the models in `data` (or Ollama's `models`), each once, in the server's order. Entries without a name are skipped."""
    listed = body.get("data")
    if not isinstance(listed, list):
        listed = body.get("models")
    models: dict[str, ModelInfo] = {}
    for entry in listed if isinstance(listed, list) else ():
        info = _model(entry)
        if info is not None:
            models.setdefault(info.id, info)
    return list(models.values())


def _model(entry: Any) -> ModelInfo | None:
    if isinstance(entry, str):
        entry = {"id": entry}
    if not isinstance(entry, dict):
        return None
    identifier = entry.get("id") or entry.get("name") or entry.get("model")
    if not identifier or not isinstance(identifier, str):
        return None
    return ModelInfo(identifier, _window(entry), str(entry.get("owned_by") or ""))


def _window(entry: Json) -> int | None:
    for place in (entry, entry.get("meta"), entry.get("top_provider"), entry.get("limits")):
        if not isinstance(place, dict):
            continue
        for name in _WINDOW_NAMES:
            value = place.get(name)
            if isinstance(value, int) and value > 1:  # True is 1
                return value
    return None
