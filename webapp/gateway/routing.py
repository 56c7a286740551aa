"""Map methods and paths below /v1 to endpoints."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from webapp.gateway.auth import Principal
from webapp.gateway.http import ROOT, Call
from webapp.ports.files_and_batches import ApiError

Handler = Callable[..., Awaitable[None]]
"""(call, principal), and the ids in the path, in their order."""
QUOTED_CHARS = 200
UNSAFE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A handler and the token scope that it requires."""

    scope: str
    handler: Handler

    async def __call__(self, call: Call, principal: Principal, ids: tuple[str, ...]) -> None:
        """Answer a call."""
        await self.handler(call, principal, *ids)


class Routes:
    """Match paths with ids in them: `{id}` and `{item}` stand for one segment, `{name}` at the end may hold slashes, as model names do."""

    def __init__(self, table: Sequence[tuple[str, str, Endpoint]]) -> None:
        self._by_path: dict[str, dict[str, Endpoint]] = {}
        for method, path, endpoint in table:
            self._by_path.setdefault(path, {})[method] = endpoint
        self._patterns = [(_pattern(path), methods) for path, methods in self._by_path.items() if "{" in path]

    def match(self, call: Call) -> tuple[Endpoint, tuple[str, ...]]:
        """Return the endpoint and the ids in the path; raise a 404 or a 405."""
        methods, ids = self._methods(call)
        endpoint = methods.get("GET" if call.method == "HEAD" else call.method)
        if endpoint is None:
            raise ApiError(
                405,
                f"Not allowed to {call.method} on {ROOT}/{call.path[:QUOTED_CHARS]}.",
                code="method_not_allowed",
                headers={"allow": allow(methods)},
            )
        return endpoint, ids

    def allowed(self, call: Call) -> str:
        """Return the methods for an `Allow` header.

        Raises:
            ApiError: 404, no such path.
        """
        return allow(self._methods(call)[0])

    def _methods(self, call: Call) -> tuple[Mapping[str, Endpoint], tuple[str, ...]]:
        if not UNSAFE.search(call.path):
            exact = self._by_path.get(call.path)
            if exact and "{" not in call.path:
                return exact, ()
            for pattern, methods in self._patterns:
                if found := pattern.fullmatch(call.path):
                    return methods, found.groups()
        raise ApiError(404, f"Invalid URL ({call.method} {ROOT}/{call.path[:QUOTED_CHARS]}).", code="unknown_url")


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(path.replace("{id}", "([^/]+)").replace("{item}", "([^/]+)").replace("{name}", "(.+)"))


def allow(methods: Mapping[str, Endpoint]) -> str:
    """Return the value of `Allow`."""
    names = {"OPTIONS", *methods, *(["HEAD"] if "GET" in methods else [])}
    return ", ".join(sorted(names))
