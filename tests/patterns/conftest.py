"""Shared fixtures of the pattern tests."""

from __future__ import annotations

import asyncio

import pytest

from webapp.patterns.agent.tools import ToolContext, ToolRegistry


@pytest.fixture
def log() -> list[str]:
    """The calls of the tools, in order."""
    return []


@pytest.fixture
def tools(log: list[str]) -> ToolRegistry:
    registry = ToolRegistry()

    @registry.tool
    async def look() -> str:
        log.append("look")
        return "seen"

    @registry.tool
    async def slow() -> str:
        await asyncio.sleep(0.03)
        log.append("slow")
        return "slow result"

    @registry.tool
    async def hang() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            log.append("hang stopped")

    @registry.tool
    async def whoami(me: ToolContext) -> int | None:
        return me.user_id

    @registry.tool(acts=True)
    async def delete() -> str:
        log.append("delete")
        return "deleted"

    return registry
