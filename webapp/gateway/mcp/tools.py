"""The tools that Patchbay offers to other programs at `/mcp`.

Each tool is a typed function: `webapp.patterns.agent.tools` makes its schema, validates the arguments and bounds the result.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval, Len

from webapp.backends.reporting import usage as reporting
from webapp.backends.runtime import rate_limits, registry
from webapp.core.database import in_database
from webapp.gateway import uploads
from webapp.gateway.auth import Principal
from webapp.patterns.agent.tools import Tool, ToolContext, ToolError
from webapp.patterns.types import AttemptLog, Json, Request
from webapp.ports import files_and_batches
from webapp.ports.files_and_batches import ApiError, Page, Upload
from webapp.ports.toolbox import toolbox

PRINCIPAL, PROGRESS = "principal", "progress"
"""The names under which a `ToolContext` carries the caller and the function that reports progress."""
ASK_SECONDS = 900.0
PROGRESS_CHARS = 400
"""`ask` reports progress once for so many characters of the answer."""
Report = Callable[[float, str], Any]


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool, the scope that its caller's token needs, and how clients describe it to people."""

    tool: Tool
    scope: str
    title: str
    read_only: bool = True
    open_world: bool = False


def offered(scopes: Iterable[str]) -> list[Offered]:
    """Return the tools that a token with these scopes may call."""
    held = set(scopes)
    return [each for each in _all() if not each.scope or each.scope in held]


def find(name: str) -> Offered | None:
    """Return the tool of that name, whatever its scope."""
    return next((each for each in _all() if each.tool.name == name), None)


def _all() -> list[Offered]:
    search = toolbox.get("search_documents")
    found = [Offered(search, "search", "Search documents")] if search else []
    return [
        *found,
        Offered(_ASK, "chat", "Ask a model", read_only=False, open_world=True),
        Offered(_LIST_MODELS, "models", "List models"),
        Offered(_LIST_BATCHES, "batches", "List batches"),
        Offered(_GET_BATCH, "batches", "Look at a batch"),
        Offered(_CREATE_BATCH, "batches", "Create a batch", read_only=False),
        Offered(_USAGE, "", "Usage and limits"),
    ]


async def ask(
    model: str,
    prompt: Annotated[str, Len(1, 1_000_000)],
    me: ToolContext,
    system: str = "",
    max_tokens: Annotated[int, Interval(ge=1, le=100_000)] | None = None,
    temperature: Annotated[float, Interval(ge=0, le=2)] | None = None,
) -> Json:
    """Ask a route or a model one question, and return its answer. This spends the caller's limits and budget.

    Args:
        model: a route, or backend/model, as list_models gives it.
        prompt: the question.
        system: instructions for the model.
        max_tokens: the longest answer, in tokens.
        temperature: from 0, the most predictable, to 2.
    """
    principal, report = _principal(me), me.extras.get(PROGRESS)
    said = [{"role": "system", "content": system}] if system else []
    request = Request.chat([*said, {"role": "user", "content": prompt}], model=model, max_tokens=max_tokens, temperature=temperature)
    chain = await registry.resolve(model, user=principal.user)
    admission = await rate_limits.ask(principal.user.pk, token=principal.limit)
    if admission.taken.refusal:
        raise admission.taken.refusal
    trail = AttemptLog()
    try:
        text, finish = await _answer(chain, request, trail, report)
    finally:
        registry.record(
            trail,
            request_id=uuid.uuid4(),
            source="gateway",
            user_id=principal.user.pk,
            token_id=principal.token_id,
            route=model,
            endpoint="mcp",
        )
        await admission.settle(trail)
    served = trail.served_by
    return {
        "answer": text,
        "finish_reason": finish,
        "model": f"{served.backend}/{served.model}" if served else model,
        "tokens": trail.usage.total_tokens,
    }


async def _answer(chain: Any, request: Request, trail: AttemptLog, report: Report | None) -> tuple[str, str]:
    """Stream the answer, so that the caller sees progress and can cancel."""
    from webapp.patterns.streaming import Accumulator

    said, told = Accumulator(), 0
    async with aclosing(chain.stream(request, trail=trail)) as packets:
        async for packet in packets:
            said.add_packet(packet)
            if report and len(said.text) - told >= PROGRESS_CHARS:
                told = len(said.text)
                await report(told, f"{told:,} characters")
    return said.text or said.refusal, said.finish_reason


async def list_models(me: ToolContext) -> list[Json]:
    """List the models that the caller may ask: routes first, then single backends, and whether they are up."""
    found = await registry.offered(_principal(me).user)
    return [{"model": each.name, "kind": each.kind, "up": each.up, "window": each.window} for each in found]


async def list_batches(me: ToolContext, limit: Annotated[int, Interval(ge=1, le=100)] = 20, after: str = "") -> Json:
    """List the caller's batches, newest first, with their status and counts.

    Args:
        limit: how many.
        after: the id of the last batch of the page before.
    """
    return await _served(files_and_batches.batches().list(_principal(me).caller, Page(limit, after or None)))


async def get_batch(batch_id: str, me: ToolContext) -> Json:
    """Return one batch: its status, counts, and the ids of its output and error files.

    Args:
        batch_id: the id, as create_batch and list_batches give it.
    """
    return await _served(files_and_batches.batches().retrieve(_principal(me).caller, batch_id))


async def create_batch(
    model: str,
    prompts: Annotated[list[str], Len(1, 10_000)],
    me: ToolContext,
    system: str = "",
    max_tokens: Annotated[int, Interval(ge=1, le=100_000)] | None = None,
) -> Json:
    """Start a batch that asks a model each of these prompts. This spends the caller's limits and budget.

    Args:
        model: a route, or backend/model, as list_models gives it.
        prompts: one request for each. The custom ids are prompt-1, prompt-2, …
        system: instructions for the model, the same for each.
        max_tokens: the longest answer, in tokens.
    """
    caller = _principal(me).caller
    said = [{"role": "system", "content": system}] if system else []
    options: Json = {"max_tokens": max_tokens} if max_tokens else {}
    lines = [
        json.dumps(
            {
                "custom_id": f"prompt-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": model, "messages": [*said, {"role": "user", "content": prompt}], **options},
            }
        )
        for number, prompt in enumerate(prompts, 1)
    ]
    folder = await asyncio.to_thread(uploads.incoming_folder)
    try:
        path = Path(folder.name) / "prompts.jsonl"
        await asyncio.to_thread(path.write_text, "\n".join(lines) + "\n", encoding="utf-8")
        upload = Upload(path, path.name, path.stat().st_size, "application/jsonl")
        file = await _served(files_and_batches.files().create(caller, upload, purpose="batch", fields={}))
    finally:
        await asyncio.to_thread(folder.cleanup)
    body = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return await _served(files_and_batches.batches().create(caller, body))


async def usage(me: ToolContext, period: str = "30d") -> Json:
    """Return the caller's requests, tokens and cost, and the limits and budgets that hold for the caller.

    Args:
        period: 24h, 7d, 30d or 90d.
    """
    return await in_database(_usage, _principal(me), period)


def _usage(principal: Principal, period: str) -> Json:
    from webapp.backends.config import limits
    from webapp.backends.runtime.budgets import spending

    user = principal.user
    if period not in reporting.PERIODS:
        raise ToolError(f"period must be one of {', '.join(reporting.PERIODS)}.")
    found = reporting.read(reporting.Filters(period, {"user": user.username}), viewer=user).totals
    held = limits.load().of(user.pk)
    return {
        "period": period,
        "requests": found.requests,
        "failed_attempts": found.failed,
        "prompt_tokens": found.prompt_tokens,
        "completion_tokens": found.completion_tokens,
        "cost": float(found.cost) if found.cost is not None else None,
        "limits": [*spending.lines(user.pk), *(limit.line for limit in (*held, *([principal.limit] if principal.limit else [])))],
    }


def _principal(me: ToolContext) -> Principal:
    principal = me.extras[PRINCIPAL]
    assert isinstance(principal, Principal)
    return principal


async def _served(work: Any) -> Json:
    """Await a handler of `/v1/files` or `/v1/batches`; its refusal becomes words for the model."""
    try:
        found: Json = await work
    except ApiError as error:
        raise ToolError(error.message) from error
    return found


_ASK = Tool(ask, timeout=ASK_SECONDS)
_LIST_MODELS = Tool(list_models)
_LIST_BATCHES = Tool(list_batches)
_GET_BATCH = Tool(get_batch)
_CREATE_BATCH = Tool(create_batch)
_USAGE = Tool(usage)
