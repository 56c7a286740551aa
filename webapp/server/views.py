"""Serve liveness, readiness, metrics, CSP reports, and the error pages."""

from __future__ import annotations

import json
import logging
import sys

from django.conf import settings
from django.db import Error, connection
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from webapp.core import metrics
from webapp.core.database import DB_UNAVAILABLE
from webapp.core.disk import disk_problem, is_disk_full
from webapp.server import channel_layer
from webapp.server.body_limits import Rate
from webapp.server.logs import request_id

logger = logging.getLogger("patchbay.csp")
MAX_REPORT_CHARS = 2000
csp_reports = Rate(30)


@require_GET
def healthz(_request: HttpRequest) -> HttpResponse:
    """Answer 200 while the process runs."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_GET
def readyz(_request: HttpRequest) -> HttpResponse:
    """Answer 200 if the database, the channel layer, and the disk work, otherwise 503 with the problems."""
    found = {"database": _database_problem(), "layer": channel_layer.problem(), "disk": disk_problem(settings.PATCHBAY_HOME)}
    problems = {name: problem for name, problem in found.items() if problem}
    return JsonResponse({"ready": not problems, "problems": problems}, status=503 if problems else 200)


def _database_problem() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as error:
        return type(error).__name__
    return ""


@require_GET
def metrics_text(request: HttpRequest) -> HttpResponse:
    """Answer Prometheus text to requests with the metrics token, otherwise 404."""
    sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not settings.METRICS_TOKEN or not constant_time_compare(sent.encode(), settings.METRICS_TOKEN.encode()):
        raise Http404
    return HttpResponse(metrics.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")


@require_GET
def manifest(_request: HttpRequest) -> HttpResponse:
    """Return the web app manifest, which lets a browser install Patchbay as an app."""
    icons = [{"src": static(f"icons/patchbay-{size}.png"), "sizes": f"{size}x{size}", "type": "image/png"} for size in (192, 512)]
    maskable = {"src": static("icons/patchbay-maskable-512.png"), "sizes": "512x512", "type": "image/png", "purpose": "maskable"}
    data = {
        "id": "/chat/",
        "name": "Patchbay",
        "short_name": "Patchbay",
        "start_url": "/chat/",
        "scope": "/",
        "display": "standalone",
        "background_color": "#ffffff",
        "theme_color": "#2f54d0",
        "icons": [*icons, maskable],
    }
    return HttpResponse(json.dumps(data), content_type="application/manifest+json")


@csrf_exempt
@require_POST
def csp_report(request: HttpRequest) -> HttpResponse:
    """Log a CSP violation that a browser reports. Anyone may post here, so the rate is limited."""
    if not csp_reports.take():
        return HttpResponse(status=429)
    logger.warning("CSP violation: %r", request.body[:MAX_REPORT_CHARS].decode(errors="replace"))
    return HttpResponse(status=204)


def _error_page(request: HttpRequest, status: int, title: str, advice: str) -> HttpResponse:
    return render(request, "error.html", {"status": status, "title": title, "advice": advice}, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """Show the page for a status of 400."""
    return _error_page(request, 400, _("Patchbay could not read this request"), _("Go back, reload the page and try again."))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """Show the page for a status of 403."""
    advice = _("Ask an administrator for access, or sign in as a different user.")
    return _error_page(request, 403, _("You do not have access"), advice)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001 - Django's signature
    """Show the page for an expired form."""
    advice = _("Reload the page and submit it again. Your browser must allow cookies.")
    return _error_page(request, 403, _("This form has expired"), advice)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """Show the page for a status of 404."""
    return _error_page(
        request,
        404,
        _("There is nothing here"),
        _("The address is wrong, the item was deleted, or you do not have access to it."),
    )


def server_error(_request: HttpRequest) -> HttpResponse:
    """Render the page of a failure without the database, which may be what failed."""
    error = sys.exc_info()[1]
    if is_disk_full(error):
        status, title = 507, _("The server's disk is full")
        advice = _("Nothing that was saved is lost. An administrator must make room; then try again.")
    elif isinstance(error, DB_UNAVAILABLE):
        status, title, advice = 503, _("The database is not answering"), _("Your saved work is safe. Try again in a moment.")
    else:
        status, title = 500, _("Something broke on our side")
        advice = _("Nothing you saved is lost. Try again. If it happens again, tell an administrator the time and this number:")
    context = {"status": status, "title": title, "advice": advice, "request_id": request_id.get(), "theme": "auto"}
    response = HttpResponse(render_to_string("broken.html", context), status=status)
    if status == 503:
        response["Retry-After"] = "5"
    return response
