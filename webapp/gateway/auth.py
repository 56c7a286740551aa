"""Authenticate calls by their token. The process caches lookups for a few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from webapp.accounts.models import User
from webapp.backends import selectors
from webapp.backends.config.limits import Limit
from webapp.backends.models import ApiToken, token_digest
from webapp.core.caches import SingleFlightCache
from webapp.core.database import in_database
from webapp.gateway.http import Call
from webapp.ports.files_and_batches import ApiError, Caller

FRESH_SECONDS, STALE_SECONDS = 2.5, 1.5
"""A revoked token and a suspended user are refused within 5 s (FAULTS 9): the two together, and the time that a lookup takes."""
MAX_KNOWN = 10_000
MAX_TOKEN_CHARS = 200


@dataclass(frozen=True, slots=True)
class Principal:
    """The user behind a token, and the token's permissions."""

    user: User
    token_id: int
    scopes: frozenset[str]
    expires_at: datetime | None = None
    limit: Limit | None = None

    @classmethod
    def of(cls, token: ApiToken) -> Principal:
        """Return the principal that a token stands for."""
        return cls(
            user=token.user,
            token_id=token.pk,
            scopes=frozenset(token.scopes),
            expires_at=token.expires_at,
            limit=token_limit(token),
        )

    @property
    def caller(self) -> Caller:
        """Return the user and the token."""
        return Caller(self.user, self.token_id)

    def demand(self, scope: str) -> None:
        """Raise a 403 unless the token has `scope`."""
        if scope not in self.scopes:
            raise ApiError(
                403,
                f"This token has no access to '{scope}': make one with that scope on your profile's page.",
                type="permission_error",
                code="missing_scope",
            )


def token_limit(token: ApiToken) -> Limit | None:
    """Return the limits of a token; None where it has none."""
    limits = token.requests_per_minute, token.tokens_per_minute, token.monthly_budget
    return None if limits == (None, None, None) else Limit("token", token.pk, "this token", *limits)


class Tokens:
    """Look up tokens by their digest, and cache valid and invalid ones for seconds: one lookup serves a burst of requests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._known: SingleFlightCache[str, Principal | None] = SingleFlightCache(
            fresh=FRESH_SECONDS, stale=STALE_SECONDS, max_entries=MAX_KNOWN, clock=clock
        )

    async def find(self, plaintext: str) -> Principal | None:
        """Return the principal of a token that is valid now, or None."""
        principal = await self._known.get(token_digest(plaintext), lambda: self._look_up(plaintext))
        expired = principal and principal.expires_at and principal.expires_at <= timezone.now()
        return None if expired else principal

    async def _look_up(self, plaintext: str) -> Principal | None:
        token = await in_database(selectors.token_by_plaintext, plaintext)
        return Principal.of(token) if token else None

    def __len__(self) -> int:
        """Return how many lookups are kept."""
        return len(self._known)

    def forget(self) -> None:
        """Clear the cache."""
        self._known.clear()


tokens = Tokens()


async def authenticate(call: Call) -> Principal:
    """Return the principal of the call's bearer token, or of its `x-api-key`. The body is not read.

    Raises:
        ApiError: 401, the token is missing or not valid.
    """
    plaintext = _token(call)
    if not plaintext:
        raise unauthorized("You didn't provide an API key: send it as 'Authorization: Bearer YOUR_KEY' or 'x-api-key: YOUR_KEY'.")
    readable = len(plaintext) <= MAX_TOKEN_CHARS and plaintext.isascii() and plaintext.isprintable()
    principal = await tokens.find(plaintext) if readable else None
    if principal is None:
        raise unauthorized("Incorrect API key provided: it is unknown, revoked or expired.")
    return principal


def _token(call: Call) -> str:
    """Return the token as OpenAI's clients send it, else as Anthropic's do; empty for none."""
    scheme, _, token = call.header("authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else call.header("x-api-key")


def unauthorized(message: str) -> ApiError:
    """Return an `ApiError` 401."""
    return ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": 'Bearer realm="Patchbay"'})
