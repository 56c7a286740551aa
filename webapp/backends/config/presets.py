"""What is known of common servers: their usual address, whether they want a key, and their habits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    """A starting point for a backend's form."""

    name: str
    title: str
    base_url: str
    wants_key: bool = False
    max_concurrency: int | None = None
    note: str = ""
    preferred: tuple[str, ...] = ()
    """Models to begin with, where the server offers so many that the first is none to choose."""


OPENAI_MODELS = ("gpt-5-mini", "gpt-5", "gpt-4.1-mini", "gpt-4.1", "gpt-4o-mini", "gpt-4o")
PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "openai", "OpenAI", "https://api.openai.com/v1", wants_key=True, note="Key from platform.openai.com.", preferred=OPENAI_MODELS
        ),
        Preset("vllm", "vLLM", "http://localhost:8001/v1", note="vllm serve MODEL --port 8001. A key only with --api-key."),
        Preset("ollama", "Ollama", "http://localhost:11434/v1", note="It cuts long input silently: enter each model's window below."),
        Preset("llamacpp", "llama.cpp", "http://localhost:8080/v1", max_concurrency=1, note="Set the concurrency to its --parallel."),
        Preset("lmstudio", "LM Studio", "http://localhost:1234/v1", note="Start the server on its Developer page."),
        Preset("litellm", "LiteLLM", "http://localhost:4000/v1", wants_key=True, note="A proxy of its own: turn its retries off."),
        Preset(
            "openrouter",
            "OpenRouter",
            "https://openrouter.ai/api/v1",
            wants_key=True,
            note="Model ids carry a vendor: vendor/model.",
            preferred=("openrouter/auto",),
        ),
        Preset("builtin", "Built-in", "http://builtin/v1", note="Runs inside Patchbay: no key, no network."),
        Preset("custom", "Custom", "", note="Anything that speaks OpenAI's API."),
    )
}


def preset_for(base_url: str) -> str:
    """The name of the preset that an address belongs to; `custom` for none."""
    for preset in PRESETS.values():
        if preset.base_url and base_url.rstrip("/").replace("127.0.0.1", "localhost") == preset.base_url:
            return preset.name
    return "custom"
