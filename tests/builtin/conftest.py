"""Shared fixtures of the built-in backend's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import openai
import pytest

from webapp.builtin.asgi import BuiltinBackend


@pytest.fixture
async def client() -> AsyncIterator[openai.AsyncOpenAI]:
    transport = httpx2.ASGITransport(BuiltinBackend(pace=0))  # type: ignore[arg-type]  # its scope type is narrower
    async with openai.AsyncOpenAI(
        base_url="http://builtin/v1", api_key="none", max_retries=0, http_client=httpx2.AsyncClient(transport=transport)
    ) as client:
        yield client
