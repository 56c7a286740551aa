"""Compose the ASGI application: which part answers which connection."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()  # loads the apps: only later imports may use models

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import re_path

from chat.routing import websocket_urlpatterns
from webapp.gateway.asgi import application as gateway
from webapp.gateway.mcp.asgi import application as mcp
from webapp.server.anonymous_bodies import AnonymousBodyLimit
from webapp.server.asgi import HttpRouter, with_own_thread
from webapp.server.body_limits import BodyLimit
from webapp.server.lifespan import lifespan
from webapp.server.request_id import with_request_id
from webapp.server.websocket import guarded, nowhere

_anywhere = re_path("", nowhere)  # type: ignore[arg-type]  # channels routes to ASGI applications, not to views

# The gateway and the MCP server are ASGI applications of their own: no middleware and no session on their way.
_pages_and_gateway = HttpRouter({"/v1": with_own_thread(gateway), "/mcp": with_own_thread(mcp)}, AnonymousBodyLimit(django_application))

application = ProtocolTypeRouter(
    {
        "http": with_request_id(BodyLimit(_pages_and_gateway, default=settings.MAX_BODY_BYTES, below=settings.BODY_LIMITS)),
        "websocket": guarded(URLRouter([*websocket_urlpatterns, _anywhere])),
        "lifespan": lifespan,
    }
)
