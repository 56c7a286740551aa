"""Provide filters that put failed attempts into words."""

from __future__ import annotations

from django import template

from webapp.patterns.fallback.explanations import explain

register = template.Library()


@register.filter
def error_title(error: str) -> str:
    """Return an error class in words: "Rate limit" for `RateLimited`."""
    return explain(error).title


@register.filter
def error_effect(error: str) -> str:
    """Return what a chain does about an error class, as a sentence; empty for errors that are not a backend's."""
    return explain(error).effect
