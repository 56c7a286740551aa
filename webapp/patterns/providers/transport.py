"""How bytes reach a server."""

from __future__ import annotations

import httpx2


def make_transport(base_url: str) -> httpx2.AsyncBaseTransport:
    """The transport for one server; as many connections as calls."""
    del base_url
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30)
    return httpx2.AsyncHTTPTransport(limits=limits, trust_env=False)
