"""Provide icons and formats for many pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django import template
from django.template.base import Parser, Token
from django.template.context import Context
from django.template.defaulttags import URLNode
from django.template.defaulttags import url as django_url
from django.urls import get_script_prefix, get_urlconf, reverse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext_lazy

from webapp.patterns.units import in_largest_unit

register = template.Library()

# On a 24-unit grid, stroked with the color of the text.
ICONS = {
    "chat": '<path d="M4 5h16v11H9l-5 4z"/>',
    "batches": '<path d="M4 6h16M4 12h16M4 18h10"/>',
    "bell": '<path d="M6 10a6 6 0 0 1 12 0c0 5 2 6 2 6H4s2-1 2-6"/><path d="M10 20a2 2 0 0 0 4 0"/>',
    "search": '<circle cx="11" cy="11" r="6"/><path d="m20 20-4.5-4.5"/>',
    "backends": '<rect x="4" y="4" width="16" height="6" rx="1"/><rect x="4" y="14" width="16" height="6" rx="1"/><path d="M8 7h.01M8 17h.01"/>',
    "usage": '<path d="M4 20V4M4 20h16M8 16v-4M12 16V8M16 16v-6"/>',
    "admin": '<circle cx="12" cy="12" r="3"/><path d="M12 3v3M12 18v3M3 12h3M18 12h3M5.6 5.6l2.1 2.1M16.3 16.3l2.1 2.1M5.6 18.4l2.1-2.1M16.3 7.7l2.1-2.1"/>',
    "plus": '<path d="M12 5v14M5 12h14"/>',
    "send": '<path d="M12 19V5M6 11l6-6 6 6"/>',
    "stop": '<rect x="7" y="7" width="10" height="10" rx="1"/>',
    "copy": '<rect x="9" y="9" width="11" height="11" rx="1"/><path d="M5 15V4h11"/>',
    "edit": '<path d="m4 20 1-5L16 4l4 4L9 19z"/>',
    "fork": '<path d="M6 4v6a4 4 0 0 0 4 4h8M6 10v10M14 10l4 4-4 4"/>',
    "trash": '<path d="M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13"/>',
    "retry": '<path d="M20 11a8 8 0 1 0-2 6M20 5v6h-6"/>',
    "check": '<path d="m5 12 5 5 9-10"/>',
    "cross": '<path d="m6 6 12 12M18 6 6 18"/>',
    "warning": '<path d="M12 4 3 20h18zM12 10v4M12 17h.01"/>',
    "down": '<path d="m6 9 6 6 6-6"/>',
    "left": '<path d="m15 6-6 6 6 6"/>',
    "right": '<path d="m9 6 6 6-6 6"/>',
    "menu": '<path d="M4 7h16M4 12h16M4 17h16"/>',
    "more": '<path stroke-width="3" d="M5 12h.01M12 12h.01M19 12h.01"/>',
    "download": '<path d="M12 4v11M7 11l5 5 5-5M5 20h14"/>',
    "upload": '<path d="M12 16V5M7 9l5-5 5 5M5 20h14"/>',
    "paperclip": '<path d="m20 11-8.5 8.5a5 5 0 0 1-7-7L13 4a3.3 3.3 0 0 1 4.7 4.7l-8.5 8.5a1.7 1.7 0 0 1-2.4-2.4L14.5 7"/>',
    "command": '<path d="M9 6a3 3 0 1 0-3 3h12a3 3 0 1 0-3-3v12a3 3 0 1 0 3-3H6a3 3 0 1 0 3 3z"/>',
    "file": '<path d="M6 3h8l4 4v14H6zM14 3v4h4"/>',
    "folder": '<path d="M3 6h7l2 2h9v11H3z"/>',
    "pin": '<path d="M9 4h6l-1 7 3 3H7l3-3zM12 14v6"/>',
    "archive": '<path d="M4 5h16v4H4zM6 9v10h12V9M10 13h4"/>',
    "link": '<path d="M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1"/>',
    "user": '<circle cx="12" cy="8" r="4"/><path d="M4 20c1-4 4-6 8-6s7 2 8 6"/>',
    "moon": '<path d="M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10z"/>',
    "key": '<circle cx="8" cy="15" r="4"/><path d="m11 12 9-9M16 7l3 3"/>',
    "play": '<path d="M8 5v14l11-7z"/>',
    "tool": '<path d="M14 6a4 4 0 0 0 5 5l-9 9-4-4 9-9a4 4 0 0 1-1-1z"/>',
    "clock": '<circle cx="12" cy="12" r="8"/><path d="M12 8v4l3 2"/>',
    "settings": '<path d="M4 7h10M18 7h2M4 17h2M10 17h10"/><circle cx="16" cy="7" r="2"/><circle cx="8" cy="17" r="2"/>',
}


@register.tag
def url(parser: Parser, token: Token) -> URLNode:
    """Return Django's `url` tag, which remembers the addresses that take one id."""
    node = django_url(parser, token)
    plain = len(node.args) == 1 and not node.kwargs and not node.asvar
    return _IdURLNode(node.view_name, node.args, {}, None) if plain else node


@register.simple_tag
def poll(url: str, seconds: int, *, swap: str = "outerMorph", select: str = "") -> SafeString:
    """Return the attributes of an element that the page fetches anew every `seconds`. A failed request leaves it as it is."""
    attributes = format_html('hx-get="{}" hx-status:5xx="swap:none" hx-trigger="every {}s" hx-swap="{}"', url, seconds, swap)
    return format_html('{} hx-select="{}"', attributes, select) if select else attributes


class _IdURLNode(URLNode):
    """An address with one argument. Where that is a UUID, it is put into a known address: Django searches all patterns each time."""

    def render(self, context: Context) -> str:
        value = self.args[0].resolve(context)
        if value.__class__ is not UUID:
            return str(super().render(context))
        address = _address_of_id(self.view_name.resolve(context), get_urlconf(), get_script_prefix())
        return address.replace(str(_NO_ID), str(value))


_NO_ID = UUID(int=0)


@cache
def _address_of_id(view: str, urlconf: str | None, _prefix: str) -> str:
    """Return the address of a view with `_NO_ID`."""
    return reverse(view, urlconf=urlconf, args=[_NO_ID])


@register.simple_tag
@cache
def icon(name: str) -> SafeString:
    """Return an inline SVG icon. It is hidden from screen readers, because the control around it has a name."""
    shape = mark_safe(ICONS[name])  # noqa: S308 - from the table above
    return format_html('<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">{}</svg>', shape)


@register.filter
def thousands(value: float | None) -> str:
    """Format a number with thin spaces between thousands; a dash for None."""
    return "–" if value is None else f"{value:,.0f}".replace(",", "\u2009")


COUNTED = {
    "token": ngettext_lazy("%(shown)s token", "%(shown)s tokens", "n"),
    "worker": ngettext_lazy("%(shown)s worker", "%(shown)s workers", "n"),
    "request": ngettext_lazy("%(shown)s request", "%(shown)s requests", "n"),
    "model": ngettext_lazy("%(shown)s model", "%(shown)s models", "n"),
    "more model": ngettext_lazy("%(shown)s more model", "%(shown)s more models", "n"),
    "file": ngettext_lazy("%(shown)s file", "%(shown)s files", "n"),
    "document": ngettext_lazy("%(shown)s document", "%(shown)s documents", "n"),
    "passage": ngettext_lazy("%(shown)s passage", "%(shown)s passages", "n"),
    "second": ngettext_lazy("%(shown)s second", "%(shown)s seconds", "n"),
    "minute": ngettext_lazy("%(shown)s minute", "%(shown)s minutes", "n"),
    "hour": ngettext_lazy("%(shown)s hour", "%(shown)s hours", "n"),
    "day": ngettext_lazy("%(shown)s day", "%(shown)s days", "n"),
}
"""The nouns that `count` and `wait` know."""


@register.filter
def count(number: float, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one: 1 token, 2 048 tokens."""
    return str(COUNTED[noun] % {"n": number, "shown": thousands(number)})


STATUS_BADGES = {
    **dict.fromkeys(("ok", "yes", "done", "completed", "succeeded"), "ok"),
    **dict.fromkeys(("no", "failed", "expired", "interrupted"), "bad"),
    **dict.fromkeys(("unclear", "cancelled", "cancelling", "incomplete"), "warn"),
    **dict.fromkeys(("pending", "skipped", "not sent", "not sent in time"), ""),
}


@register.filter
def status_badge(status: str) -> str:
    """Return the badge state of a job, a row or a finding; `run` for the statuses of work in progress."""
    return STATUS_BADGES.get(status.lower(), "run")


@register.filter
def outcome_badge(outcome: str) -> str:
    """Return the badge state of an attempt's outcome."""
    return {"ok": "ok", "failed": "bad"}.get(outcome, "warn")


@register.filter
def milliseconds(value: float | None) -> str:
    """Format a duration in ms: 0.7 ms, 840 ms, 4.2 s, 3 min 5 s."""
    if value is None:
        return "–"
    if 0 < value < 10:
        return f"{number_format(value, 1)} ms"
    if value < 1000:
        return f"{value:.0f} ms"
    seconds = value / 1000
    return f"{number_format(seconds, 1)} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


@register.filter
def wait(seconds: float) -> str:
    """Return a waiting time in its largest unit: 30 seconds, 5 minutes."""
    return count(*in_largest_unit(seconds))


@register.filter
def ago(when: datetime) -> str:
    """Format a past time in its largest unit: just now, 3 minutes ago, 2 weeks ago."""
    if timezone.now() - when < timedelta(minutes=1):
        return _("just now")
    return _("%(time)s ago") % {"time": timesince(when, depth=1)}


@register.filter
def item(mapping: Mapping[str, Any], name: str) -> Any:
    """Return `mapping[name]`, or empty text. For names that are known only at run time."""
    return mapping.get(name, "")
