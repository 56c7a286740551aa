"""Describe common servers: the usual address, whether they need a key, and their habits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Preset:
    """Initial values for a backend's form."""

    name: str
    title: str
    base_url: str
    wants_key: bool = False
    max_concurrency: int | None = None
    note: str = ""
    preferred: tuple[str, ...] = ()
    """Preferred models, for servers that offer too many to use the first one."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with each request; `{api_key}` stands for the key."""
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    """What the server can do, until a probe finds out. Names of protocols: `chat_completions` and `responses` are OpenAI's, `messages` is
    Anthropic's."""


OPENAI_MODELS = ("gpt-5-mini", "gpt-5", "gpt-4.1-mini", "gpt-4.1", "gpt-4o-mini", "gpt-4o")
ANTHROPIC_MODELS = ("claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5")
PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "openai",
            "OpenAI",
            "https://api.openai.com/v1",
            wants_key=True,
            note="Key from platform.openai.com.",
            preferred=OPENAI_MODELS,
            capabilities={"responses": True, "hosted_tools": True},
        ),
        Preset(
            "anthropic",
            "Anthropic",
            "https://api.anthropic.com/v1",
            wants_key=True,
            note="Key from console.anthropic.com. The chat and /v1/chat/completions are translated.",
            preferred=ANTHROPIC_MODELS,
            headers={"x-api-key": "{api_key}", "anthropic-version": "2023-06-01"},
            capabilities={
                "messages": True,
                "count_tokens": True,
                "chat_completions": False,
                "completions": False,
                "embeddings": False,
                "logprobs": False,
                "audio": False,
                "files": False,
                "batches": False,
            },
        ),
        Preset(
            "vllm",
            "vLLM",
            "http://localhost:8001/v1",
            note="vllm serve MODEL --port 8001. A key only with --api-key.",
            capabilities={"responses": True, "messages": True, "count_tokens": True},
        ),
        Preset(
            "ollama",
            "Ollama",
            "http://localhost:11434/v1",
            note="It cuts long input silently: enter each model's window below.",
            capabilities={"responses": True, "messages": True},
        ),
        Preset(
            "llamacpp",
            "llama.cpp",
            "http://localhost:8080/v1",
            max_concurrency=1,
            note="Set the concurrency to its --parallel.",
            capabilities={"messages": True, "count_tokens": True},
        ),
        Preset(
            "lmstudio",
            "LM Studio",
            "http://localhost:1234/v1",
            note="Start the server on its Developer page.",
            capabilities={"responses": True, "messages": True},
        ),
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
    """Return the name of the preset for an address; `custom` if none matches."""
    for preset in PRESETS.values():
        if preset.base_url and base_url.rstrip("/").replace("127.0.0.1", "localhost") == preset.base_url:
            return preset.name
    return "custom"
