"""Choose the executor of a batch: the model's own Batch API or Patchbay's runner; and check that the user may use the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from batches.input import estimates
from batches.input.tables import Survey
from batches.models import Batch, File
from webapp.accounts.models import User
from webapp.backends.runtime import registry
from webapp.core.database import in_database
from webapp.patterns.batch.input_file import LineError, Validated
from webapp.patterns.errors import BudgetSpent, ModelForbidden, ModelNotFound, PatternError
from webapp.patterns.types import Json

if TYPE_CHECKING:
    from webapp.patterns.fallback.chain import Chain
    from webapp.patterns.openai.backend import OpenAIBackend

PROBE_SECONDS = 5.0
MESSAGES = "/v1/messages"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a batch runs. `backend` and `model` name the server of a remote job, or the first step of a local one."""

    executor: str
    backend: str
    model: str
    estimate: Json


async def plan(
    checked: Validated,
    *,
    user: User,
    file: File | None,
    executor: str = Batch.Executor.AUTO,
    concurrency: int = 32,
    structured: bool = False,
) -> tuple[Plan | None, list[LineError]]:
    """Return the plan for a validated input, or the errors that prevent it: errors of the file, or a model that the user cannot use."""
    errors: list[LineError] = []
    chain = await _chain(checked, user, errors)
    if chain is None or checked.error_count or file is None:
        return None, errors
    local = structured or checked.endpoint == MESSAGES  # no server's Batch API at /v1/batches takes messages
    made = await _plan(chain, partial(estimates.estimate, file, checked), executor=executor, concurrency=concurrency, structured=local)
    if made is None:
        message = f"The backend {chain.steps[0].backend.name} has no Batch API: run the batch locally."
        return None, [LineError("no_batch_api", message, None, "executor")]
    return made, []


async def forecast(
    survey: Survey, *, model: str, user: User, executor: str = Batch.Executor.AUTO, concurrency: int = 32, structured: bool = False
) -> Plan | None:
    """Return the plan for rows that are not stored yet; None if remote execution is required but not possible.

    Raises:
        PatternError: the model does not exist, or the user may not use it.
    """
    chain = await registry.resolve(model, user=user)
    bodies = [body for _, body in survey.sample]
    return await _plan(
        chain, partial(estimates.of_sample, bodies, rows=survey.rows), executor=executor, concurrency=concurrency, structured=structured
    )


async def _plan(
    chain: Chain, estimate: Callable[..., estimates.Estimate], *, executor: str, concurrency: int, structured: bool
) -> Plan | None:
    first = chain.steps[0]
    chosen = await _executor(Batch.Executor(executor), first.backend.name, structured=structured)
    if chosen is None:
        return None
    known = await in_database(estimate, backend=first.backend.name, model=first.model, concurrency=concurrency)
    return Plan(chosen, first.backend.name, first.model, known.as_json())


async def _chain(checked: Validated, user: User, errors: list[LineError]) -> Chain | None:
    if not checked.model:
        return None
    line = checked.lines[0].number if checked.lines else None
    try:
        return await registry.resolve(checked.model, user=user)
    except (BudgetSpent, ModelForbidden, ModelNotFound) as error:
        errors.append(LineError(error.code, error.message, line, "body.model"))
        return None


async def _executor(wanted: Batch.Executor, backend: str, *, structured: bool) -> str | None:
    """Return remote if requested and possible, otherwise local if allowed; None if remote is required but not possible."""
    if wanted == Batch.Executor.LOCAL or (wanted == Batch.Executor.AUTO and structured):
        return Batch.Executor.LOCAL
    if await has_batch_api(await registry.backend(backend)):
        return Batch.Executor.REMOTE
    return Batch.Executor.LOCAL if wanted == Batch.Executor.AUTO else None


async def has_batch_api(backend: OpenAIBackend) -> bool:
    """Return whether the server has a Batch API: from known facts, or by listing its batches."""
    known = backend.capabilities.get("batches")
    if known is not None:
        return known
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await backend.list_batches(limit=1)
    except (PatternError, TimeoutError):
        return False
    return True
