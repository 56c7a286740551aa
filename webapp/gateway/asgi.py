"""The gateway's ASGI application, mounted at /v1."""

from __future__ import annotations

from webapp.server.http import Receive, Scope, Send, send_json


async def application(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer a request below /v1."""
    await send_json(
        send,
        404,
        {
            "error": {
                "message": f"No such endpoint: {scope['path']}",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        },
    )
