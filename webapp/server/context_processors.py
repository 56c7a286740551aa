"""Provide variables to every template."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from webapp.accounts.languages import choice_of
from webapp.accounts.models import THEMES


def page(request: HttpRequest) -> dict[str, Any]:
    """Return what every page may show.

    `theme` is auto, light, or dark. `language` is the chosen one of `languages`, or empty. `csp_nonce` is for django-htmx's tags.
    `section` is the current entry of the rail.
    """
    theme = request.COOKIES.get("theme", "auto")
    return {
        "theme": theme if theme in THEMES else "auto",
        "language": choice_of(request),
        "languages": settings.LANGUAGES,
        "csp_nonce": getattr(request, "csp_nonce", None),
        "section": request.path.split("/")[1],
    }
