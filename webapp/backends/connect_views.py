"""Serve the page after the set-up: it looks for model servers on this machine and adds one with one click."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from webapp.backends import selectors, services
from webapp.backends.config import detection
from webapp.backends.config.presets import PRESETS


@login_required
@permission_required("backends.add_backend", raise_exception=True)
@require_GET
def connect(request: HttpRequest) -> HttpResponse:
    """Show the servers that are looked for. The page asks for them at once, unless `PATCHBAY_DETECT` is 0."""
    places = [(PRESETS[preset].title, url) for preset, url in detection.addresses()]
    context = {"section": "backends", "places": places, "look_now": settings.PATCHBAY_DETECT}
    return render(request, "backends/connect.html", context)


@login_required
@permission_required("backends.add_backend", raise_exception=True)
@require_POST
def found_servers(request: HttpRequest) -> HttpResponse:
    """Look for servers on this machine and in the environment, and offer those that are not connected yet."""
    services.look_for_servers()
    return render(request, "backends/_found.html", {"offers": selectors.open_offers()})
