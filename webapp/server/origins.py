"""Check the Host and Origin of a request, for the ASGI applications that run outside Django's middleware.

A page of a foreign site can lead its own name to this machine by DNS (DNS rebinding). Its requests then carry a Host that is not one of
`ALLOWED_HOSTS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from webapp.server.asgi import Scope


def is_own_host(scope: Scope) -> bool:
    """Return whether the Host header names this site."""
    return validate_host(split_domain_port(_header(scope, b"host"))[0], settings.ALLOWED_HOSTS)


def is_own_origin(scope: Scope) -> bool:
    """Return whether Origin is this site, with scheme, host and port, or a trusted one. A request without Origin has none."""
    origin, host = _header(scope, b"origin"), _header(scope, b"host")
    own = {f"{_scheme(scope)}://{host}"} if is_own_host(scope) else set()
    return bool(origin) and origin in own | {trusted.lower() for trusted in settings.TRUSTED_ORIGINS}


def _header(scope: Scope, name: bytes) -> str:
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    return headers.get(name, b"").decode("latin-1").lower()


def _scheme(scope: Scope) -> str:
    """Return the scheme that the browser used, as the proxy in front reports it."""
    if header := settings.SECURE_PROXY_SSL_HEADER:
        name, secure = header
        key = name.removeprefix("HTTP_").replace("_", "-").lower().encode()
        if _header(scope, key).split(",")[0].strip() == secure:
            return "https"
    return "https" if scope.get("scheme") in {"wss", "https"} else "http"
