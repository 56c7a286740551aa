"""Find servers on the usual ports of this machine and in the environment. Only `GET /v1/models` is sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
from django.core.exceptions import ValidationError

from webapp.backends.config.addresses import clean_base_url
from webapp.backends.config.presets import PRESETS, preset_for
from webapp.core import env

logger = logging.getLogger("patchbay.backends")
LOCAL = ("ollama", "lmstudio", "llamacpp", "vllm")
TIMEOUT_SECONDS = 1.5
MAX_MODELS = 500


VLLM_DEFAULT = "http://localhost:8000/v1"
"""Where `vllm serve` listens by default. Where Patchbay itself has this port, it answers 401 and is not taken for a server."""


def addresses() -> list[tuple[str, str]]:
    """Return the (preset, base URL) pairs that are looked at on this machine."""
    local = [(name, PRESETS[name].base_url) for name in LOCAL]
    return [*local, ("vllm", VLLM_DEFAULT)] if "vllm" in LOCAL else local


@dataclass(frozen=True, slots=True)
class Found:
    """A possible backend. `models` are its model ids; empty if listing them would send a key."""

    name: str
    preset: str
    base_url: str
    api_key_env: str = ""
    models: tuple[str, ...] = ()


async def find(places: Sequence[tuple[str, str]] | None = None) -> list[Found]:
    """Return servers that answer on this machine, then the one in the environment.

    Args:
        places: (preset, base URL) to ask; None for the usual local ports.
    """
    places = places if places is not None else addresses()
    async with httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        answers = await asyncio.gather(*(_listed_models(client, url) for _preset, url in places))
    local = [Found(preset, preset, url, models=ids) for (preset, url), ids in zip(places, answers, strict=True) if ids is not None]
    return local + from_environment()


def from_environment() -> list[Found]:
    """Return the server of `OPENAI_API_KEY` and `OPENAI_BASE_URL`; none without a key. The key stays in the environment."""
    if not env.text("OPENAI_API_KEY"):
        return []
    try:
        url = clean_base_url(env.text("OPENAI_BASE_URL", PRESETS["openai"].base_url))
    except ValidationError as error:  # an offer must not make a start fail
        logger.warning("OPENAI_BASE_URL is not offered as a backend: %s", " ".join(error.messages))
        return []
    preset = preset_for(url)
    return [Found("openai" if preset == "custom" else preset, preset, url, api_key_env="OPENAI_API_KEY")]


async def _listed_models(client: httpx2.AsyncClient, base_url: str) -> tuple[str, ...] | None:
    """Return the model ids at `base_url`/models; None if no OpenAI-compatible server answers there."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):  # limit of the whole answer, because any program may listen there
            response = await client.get(f"{base_url}/models")
        body: Any = response.json() if response.status_code == httpx2.codes.OK else None
    except (httpx2.HTTPError, TimeoutError, ValueError, RecursionError):
        return None
    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        return None
    return tuple(row["id"] for row in rows[:MAX_MODELS] if isinstance(row, dict) and isinstance(row.get("id"), str))
