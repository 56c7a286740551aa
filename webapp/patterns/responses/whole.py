"""One whole response to a request that stands alone, as the lines of a batch do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from webapp.patterns.backend import Backend
from webapp.patterns.errors import InputError
from webapp.patterns.openai.normalize import encoded
from webapp.patterns.responses.execution import Execution
from webapp.patterns.responses.items import normalize_input
from webapp.patterns.responses.objects import new_id, new_response, read_usage
from webapp.patterns.responses.request import ResponsesRequest, check_tool_choice
from webapp.patterns.types import AttemptLog, Response

STATEFUL: Final = ("previous_response_id", "conversation", "background", "prompt")
"""Parameters that need stored state."""


async def complete(backend: Backend, body: Mapping[str, Any], *, trail: AttemptLog | None = None) -> Response:
    """Return the whole response to a request without state; nothing is stored, and no tool runs on the server.

    Args:
        backend: a backend or a chain.
        body: of a POST to `/v1/responses`.
        trail: takes the attempts.

    Raises:
        InputError: the request needs stored state, or an item cannot be read.
        PatternError: no backend answered.
    """
    for name in STATEFUL:
        if body.get(name):
            raise InputError(f"'{name}' needs stored responses, which a request of its own does not have.", param=name)
    check_tool_choice(body)
    asked = ResponsesRequest(dict(body), [], normalize_input(body.get("input")))
    response = new_response({**body, "store": False}, response_id=new_id("resp_"))
    made = await Execution(backend, asked, response=response, trail=trail).send()
    return Response(encoded(made), made, protocol="responses", usage=read_usage(made))
