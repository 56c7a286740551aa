"""models: what the token's user may use, and nothing else."""

from __future__ import annotations

from webapp.backends.runtime import registry
from webapp.gateway.auth import Principal
from webapp.gateway.http import Call
from webapp.patterns.types import Json

CREATED = 1767225600
"""The schema wants a time of creation, and routes have none that means anything: the first of January 2026."""


async def list_models(call: Call, principal: Principal) -> None:
    """GET models: routes, and `backend/model`."""
    offered = await registry.offered(principal.user)
    await call.respond_json({"object": "list", "data": [_model(model.name) for model in offered]})


async def retrieve_model(call: Call, principal: Principal, name: str) -> None:
    """GET models/{id}: any name that a request may carry, bare ids too; raises 404 and 403 as a request would."""
    await registry.resolve(name, user=principal.user)
    await call.respond_json(_model(name))


def _model(name: str) -> Json:
    owner, slash, _ = name.partition("/")
    return {"id": name, "object": "model", "created": CREATED, "owned_by": owner if slash else "patchbay"}
