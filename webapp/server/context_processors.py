"""What every template may use."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from webapp.accounts.models import THEMES


def page(request: HttpRequest) -> dict[str, Any]:
    """`theme` (auto, light or dark), `csp_nonce` (read by django-htmx's tags) and `section`, the lit entry of the rail."""
    theme = request.COOKIES.get("theme", "auto")
    return {
        "theme": theme if theme in THEMES else "auto",
        "csp_nonce": getattr(request, "csp_nonce", None),
        "section": request.path.split("/")[1],
    }
