"""A request cut to a window, for a chain whose every step said that it was too long."""

from __future__ import annotations

from webapp.patterns.errors import InputError
from webapp.patterns.types import Request

DEFAULT_RESERVE = 1024
UNKNOWN_WINDOW_SHARE = 0.5
"""Of the request as it is, where no server said how long it may be."""
RETRY_SHARE = 0.8
"""Of the window, where the request fits by our count and the server still refused it."""


def truncate(request: Request, window: int | None, model: str) -> Request | None:
    """`request` without what does not fit into `window` tokens (`patterns.context`); None where it cannot be cut."""
    from webapp.patterns.context import fit
    from webapp.patterns.tokens import count_messages

    messages, tools = request.messages, request.body.get("tools") or ()
    if len(messages) == 0:
        return None
    size = window or int(count_messages(messages, model, tools).tokens * UNKNOWN_WINDOW_SHARE)
    wanted = request.body.get("max_completion_tokens") or request.body.get("max_tokens")
    reserve = min(wanted if isinstance(wanted, int) and wanted > 0 else DEFAULT_RESERVE, size // 2)
    for share in (1.0, RETRY_SHARE):
        try:
            fitted = fit(messages, window=int(size * share), reserve=reserve, model=model, tools=tools)
        except InputError:
            return None
        if not fitted.report.untouched:
            return request.with_messages(fitted.messages)
    return None
