"""Which endpoint answers which method and path below /v1."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from webapp.gateway.auth import Principal
from webapp.gateway.http import ROOT, Call
from webapp.ports.files_and_batches import ApiError

Handler = Callable[..., Awaitable[None]]
"""(call, principal), and the id in the path where there is one."""
QUOTED_CHARS = 200
UNSAFE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A handler and the scope that a token needs for it."""

    scope: str
    handler: Handler

    async def __call__(self, call: Call, principal: Principal, item: str | None) -> None:
        await (self.handler(call, principal) if item is None else self.handler(call, principal, item))


class Routes:
    """Paths that may have one `{id}` in them, or end in one `{name}`, which may hold slashes (model names do)."""

    def __init__(self, table: Sequence[tuple[str, str, Endpoint]]) -> None:
        self._by_path: dict[str, dict[str, Endpoint]] = {}
        for method, path, endpoint in table:
            self._by_path.setdefault(path, {})[method] = endpoint
        self._patterns = [(_pattern(path), methods) for path, methods in self._by_path.items() if "{" in path]

    def match(self, call: Call) -> tuple[Endpoint, str | None]:
        """The endpoint and the id in the path; raises 404 and 405."""
        methods, item = self._methods(call)
        endpoint = methods.get("GET" if call.method == "HEAD" else call.method)
        if endpoint is None:
            raise ApiError(
                405,
                f"Not allowed to {call.method} on {ROOT}/{call.path[:QUOTED_CHARS]}.",
                code="method_not_allowed",
                headers={"allow": allow(methods)},
            )
        return endpoint, item

    def allowed(self, call: Call) -> str:
        """The methods for an `Allow` header; raises 404."""
        return allow(self._methods(call)[0])

    def _methods(self, call: Call) -> tuple[Mapping[str, Endpoint], str | None]:
        if not UNSAFE.search(call.path):
            exact = self._by_path.get(call.path)
            if exact and "{" not in call.path:
                return exact, None
            for pattern, methods in self._patterns:
                if found := pattern.fullmatch(call.path):
                    return methods, found[1]
        raise ApiError(404, f"Invalid URL ({call.method} {ROOT}/{call.path[:QUOTED_CHARS]}).", code="unknown_url")


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(path.replace("{id}", "([^/]+)").replace("{name}", "(.+)"))


def allow(methods: Mapping[str, Endpoint]) -> str:
    """The value of `Allow`."""
    names = {"OPTIONS", *methods, *(["HEAD"] if "GET" in methods else [])}
    return ", ".join(sorted(names))
