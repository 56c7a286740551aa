"""Let a model report the state of a batch."""

from __future__ import annotations

from asgiref.sync import sync_to_async

from batches import selectors
from batches.models import Batch
from webapp.accounts.models import User
from webapp.patterns.agent.tools import ToolContext, ToolError
from webapp.patterns.types import Json

NEWEST = 5


async def get_batch_status(context: ToolContext, batch: str = "") -> list[Json]:
    """How the user's batches are doing: status, progress, failures, tokens and cost.

    Args:
        batch: id or a part of the name of one batch; empty for the newest ones.
    """
    return await sync_to_async(_status)(context.user_id, batch.strip())


def _status(user_id: int | None, text: str) -> list[Json]:
    user = User.objects.filter(pk=user_id).first() if user_id is not None else None
    if user is None:
        raise ToolError("No user is signed in, so there are no batches to show.")
    found = list(selectors.search(user, text=text)[:NEWEST])
    if text and not found:
        raise ToolError(f"The user has no batch whose id or name matches {text!r}. Call again without a name to see the newest.")
    return [_told(batch) for batch in found]


def _told(batch: Batch) -> Json:
    progress = selectors.progress(batch)
    return {
        "id": batch.api_id,
        "name": str(batch),
        "status": batch.status,
        "model": batch.model,
        "rows": {"total": batch.total, "succeeded": batch.completed, "failed": batch.failed},
        "rows_per_second": round(progress.rate, 2),
        "seconds_left": None if progress.left_ms is None else round(progress.left_ms / 1000),
        "paused_because": progress.paused or None,
        "failures": {failure.code: failure.rows for failure in selectors.failures(batch)},
        "tokens": batch.prompt_tokens + batch.completion_tokens,
        "cost": None if batch.cost is None else float(batch.cost),
        "created": batch.created_at.isoformat(timespec="seconds"),
    }
