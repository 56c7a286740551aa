"""Provide variables to every template."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from webapp.accounts.models import THEMES


def page(request: HttpRequest) -> dict[str, Any]:
    """Return `theme` (auto, light, or dark), `csp_nonce` (for django-htmx's tags), and `section` (the current entry of the rail)."""
    theme = request.COOKIES.get("theme", "auto")
    return {
        "theme": theme if theme in THEMES else "auto",
        "csp_nonce": getattr(request, "csp_nonce", None),
        "section": request.path.split("/")[1],
    }
