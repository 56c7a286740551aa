"""What models may ask about the backends (`toolbox`)."""

from __future__ import annotations

import dataclasses
from typing import Any

from webapp.accounts.models import User
from webapp.backends import registry
from webapp.patterns.tools import Tool, ToolContext, ToolError
from webapp.patterns.types import Request

MAX_REQUESTS = 20
MAX_CONCURRENCY = 8
BENCHMARK_SECONDS = 60.0
QUESTION = "Explain in a few sentences how a bicycle stays upright."


async def list_backends(context: ToolContext) -> list[dict[str, Any]]:
    """The models that the user may use, by the names to ask for them, and whether each is up."""
    offered = await registry.offered(await _user(context))
    return [
        {"model": one.name, "kind": one.kind, "description": one.description, "context_window": one.window, "up": one.up} for one in offered
    ]


async def run_benchmark(context: ToolContext, model: str, requests: int = 5, concurrency: int = 2, max_tokens: int = 64) -> dict[str, Any]:
    """Measure a model: time to first token, tokens per second and latency at a given concurrency. It sends real requests, which may cost.

    Args:
        model: a name as list_backends gives it.
        requests: how many, up to 20.
        concurrency: how many at once, up to 8.
        max_tokens: the length of each answer, up to 512.
    """
    from webapp.patterns.benchmark import measure

    if not (1 <= requests <= MAX_REQUESTS and 1 <= concurrency <= MAX_CONCURRENCY and 1 <= max_tokens <= 512):
        raise ToolError(f"Use 1 to {MAX_REQUESTS} requests, 1 to {MAX_CONCURRENCY} at once, 1 to 512 tokens.")
    chain = await registry.resolve(model, user=await _user(context))
    request = Request.chat([{"role": "user", "content": QUESTION}], max_tokens=max_tokens)
    report = await measure(chain, request, requests=requests, concurrency=concurrency, seconds=BENCHMARK_SECONDS)
    return {**dataclasses.asdict(report), "tokens_per_second": report.tokens_per_second, "requests_per_second": report.requests_per_second}


async def _user(context: ToolContext) -> User:
    """Who the tool runs for: access is theirs, never Patchbay's."""
    user = await User.objects.filter(pk=context.user_id or 0, is_active=True).afirst()
    if user is None:
        raise ToolError("This tool needs a signed-in user.")
    return user


TOOLS = (Tool(list_backends), Tool(run_benchmark, timeout=BENCHMARK_SECONDS + 5, acts=True))
