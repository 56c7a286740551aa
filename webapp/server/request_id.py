"""Give every HTTP request an id: the proxy's if it is well-formed, otherwise a new one. The id is logged and sent back."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Mapping
from typing import Any

from webapp.server import logs
from webapp.server.asgi import Application, Receive, Scope, Send

HEADER = b"x-request-id"
SANE = re.compile(rb"[A-Za-z0-9._-]{1,100}")


def new_id() -> uuid.UUID:
    """Return an id that may be guessed. `uuid.uuid4` asks the kernel for each one, which takes longer than to check a token."""
    return uuid.UUID(int=random.getrandbits(128), version=4)


def with_request_id(app: Application) -> Application:
    """Return `app` with `scope["request_id"]` set, and with `x-request-id` on each response that lacks it."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        sent = next((value for name, value in scope["headers"] if name == HEADER), b"")
        if SANE.fullmatch(sent):
            own = sent.decode()
        else:
            scope["request_uuid"] = made = new_id()
            own = made.hex
        scope["request_id"] = own
        token = logs.request_id.set(own)

        async def marked(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and not any(name.lower() == HEADER for name, _ in message.get("headers", ())):
                message = {**message, "headers": [*message.get("headers", ()), (HEADER, own.encode())]}
            await send(message)

        try:
            await app(scope, receive, marked)
        finally:
            logs.request_id.reset(token)

    return application
