"""Looking for servers: on the usual ports of this machine, and in the environment. Nothing is sent but `GET /v1/models`."""

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


@dataclass(frozen=True, slots=True)
class Found:
    """A server that could be a backend. `models` are the ids it lists (not asked for where a key would have to be sent)."""

    name: str
    preset: str
    base_url: str
    api_key_env: str = ""
    models: tuple[str, ...] = ()


async def find(addresses: Sequence[tuple[str, str]] | None = None) -> list[Found]:
    """Servers that answer on this machine, then what the environment names.

    Args:
        addresses: (preset, base URL) to ask; the usual local ports where None.
    """
    addresses = addresses if addresses is not None else [(name, PRESETS[name].base_url) for name in LOCAL]
    async with httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        answers = await asyncio.gather(*(_listed_models(client, url) for _preset, url in addresses))
    local = [Found(preset, preset, url, models=ids) for (preset, url), ids in zip(addresses, answers, strict=True) if ids is not None]
    return local + from_environment()


def from_environment() -> list[Found]:
    """The server of `OPENAI_API_KEY` and `OPENAI_BASE_URL`; none without a key. The key itself stays in the environment."""
    if not env.text("OPENAI_API_KEY"):
        return []
    try:
        url = clean_base_url(env.text("OPENAI_BASE_URL", PRESETS["openai"].base_url))
    except ValidationError as error:  # a start must not fail for what is only an offer
        logger.warning("OPENAI_BASE_URL is not offered as a backend: %s", " ".join(error.messages))
        return []
    preset = preset_for(url)
    return [Found("openai" if preset == "custom" else preset, preset, url, api_key_env="OPENAI_API_KEY")]


async def _listed_models(client: httpx2.AsyncClient, base_url: str) -> tuple[str, ...] | None:
    """The model ids at `base_url`/models; None where nothing answers there as an OpenAI-compatible server would."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):  # of the whole answer: it may be any program that listens there
            response = await client.get(f"{base_url}/models")
        body: Any = response.json() if response.status_code == httpx2.codes.OK else None
    except (httpx2.HTTPError, TimeoutError, ValueError, RecursionError):
        return None
    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        return None
    return tuple(row["id"] for row in rows[:MAX_MODELS] if isinstance(row, dict) and isinstance(row.get("id"), str))
