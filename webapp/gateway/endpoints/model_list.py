"""List the models that a token's user may use, in the shape of the caller's protocol."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from webapp.backends.runtime import registry
from webapp.gateway.auth import Principal
from webapp.gateway.http import Call
from webapp.patterns.errors import InputError
from webapp.patterns.types import Json

CREATED = 1767225600
"""The schemas require a time of creation, and a route has none that matters: 1 January 2026."""
CREATED_TEXT = datetime.fromtimestamp(CREATED, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
MAX_LISTED = 1000


async def list_models(call: Call, principal: Principal) -> None:
    """GET models: routes, and `backend/model`; a page of them for a caller of Anthropic's protocol."""
    names = [model.name for model in await registry.offered(principal.user)]
    if call.anthropic:
        await call.respond_json(_anthropic_page(names, call.query()))
        return
    await call.respond_json({"object": "list", "data": [_model(name) for name in names]})


async def retrieve_model(call: Call, principal: Principal, name: str) -> None:
    """GET models/{id}: any name that a request may carry, bare ids too. Raise 404 and 403 as a request would."""
    await registry.resolve(name, user=principal.user)
    await call.respond_json(_anthropic_model(name) if call.anthropic else _model(name))


def _model(name: str) -> Json:
    owner, slash, _ = name.partition("/")
    return {"id": name, "object": "model", "created": CREATED, "owned_by": owner if slash else "patchbay"}


def _anthropic_model(name: str) -> Json:
    return {"type": "model", "id": name, "display_name": name, "created_at": CREATED_TEXT, "lifecycle": "active"}


def _anthropic_page(names: Sequence[str], query: dict[str, str]) -> Json:
    """Return the page that `limit`, `after_id` and `before_id` ask for: without a limit all models, at an unknown id none."""
    limit = query.get("limit", str(MAX_LISTED))
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= MAX_LISTED:
        raise InputError(f"limit: expected an integer from 1 to {MAX_LISTED}.", param="limit", code="invalid_value")
    before, after = query.get("before_id"), query.get("after_id")
    if any(name and name not in names for name in (before, after)):
        page, more = names[:0], False
    elif before:
        end = names.index(before)
        page, more = names[max(0, end - int(limit)) : end], end > int(limit)
    else:
        start = names.index(after) + 1 if after else 0
        page, more = names[start : start + int(limit)], start + int(limit) < len(names)
    first, last = (page[0], page[-1]) if page else (None, None)
    return {"data": [_anthropic_model(name) for name in page], "has_more": more, "first_id": first, "last_id": last}
