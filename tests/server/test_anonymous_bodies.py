"""Large bodies without a sign-in are refused before they reach the disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from django.test import Client

from webapp.core.database import in_database
from webapp.server.anonymous_bodies import AnonymousBodyLimit, is_signed_in
from webapp.server.asgi import Receive, Scope, Send

PIECE = b"x" * 600


class Upload:
    """A request that brings pieces, and what it is answered."""

    def __init__(self, *, pieces: int, length: bool) -> None:
        self.scope: Scope = {"headers": [(b"content-length", str(len(PIECE) * pieces).encode())] if length else []}
        self.sent: list[Mapping[str, Any]] = []
        self.stored = 0
        self._left = pieces

    async def receive(self) -> Mapping[str, Any]:
        self._left -= 1
        return {"type": "http.request", "body": PIECE, "more_body": self._left > 0}

    async def send(self, message: Mapping[str, Any]) -> None:
        self.sent.append(message)

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Store the body, as Django does, and answer 200."""
        while (message := await receive())["type"] == "http.request":
            self.stored += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def run(self, *, signed_in: bool) -> int:
        async def answer(_scope: Scope) -> bool:
            return signed_in

        await AnonymousBodyLimit(self.application, signed_in=answer, most=1000)(self.scope, self.receive, self.send)
        return int(self.sent[0]["status"])


@pytest.mark.parametrize("length", [True, False], ids=["stated", "chunked"])
async def test_a_large_body_needs_a_sign_in(length: bool) -> None:
    anonymous, known = Upload(pieces=5, length=length), Upload(pieces=5, length=length)
    assert (await anonymous.run(signed_in=False), await known.run(signed_in=True)) == (413, 200)
    assert (anonymous.stored, known.stored) == (0 if length else 600, 3000)


@pytest.mark.parametrize("length", [True, False], ids=["stated", "chunked"])
async def test_a_small_body_needs_none(length: bool) -> None:
    upload = Upload(pieces=1, length=length)
    assert await upload.run(signed_in=False) == 200
    assert upload.stored == 600


async def test_a_session_counts_only_while_its_user_is_active(users: Any, transactional_db: None) -> None:
    def sign_in() -> bytes:
        client = Client()
        client.force_login(users.owner)
        return "; ".join(f"{name}={cookie.value}" for name, cookie in client.cookies.items()).encode()

    scope = {"headers": [(b"cookie", await in_database(sign_in))]}
    assert await is_signed_in(scope)
    users.owner.is_active = False
    await in_database(users.owner.save)
    assert not await is_signed_in(scope)
    assert not await is_signed_in({"headers": [(b"cookie", b"sessionid=unknown")]})
    assert not await is_signed_in({"headers": []})
