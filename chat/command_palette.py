"""Build the command palette: actions on the current page, places, and the latest conversations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from chat.models import Conversation

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as StrPromise


@dataclass(frozen=True, slots=True)
class Option:
    """A line of the palette: a link (`url`), or an element to open, focus, or click (`run`, a CSS selector).

    The palette hides options whose element is not on the page.
    """

    label: str | StrPromise
    icon: str
    url: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Options under a heading."""

    name: str | StrPromise
    options: list[Option]


ACTIONS = [
    Option(_("Stop the answer"), "stop", run="#chat[data-busy] .stop"),
    Option(_("Write to the model"), "edit", run="#chat-input"),
    Option(_("Choose the model"), "backends", run="#route-picker"),
    Option(_("Conversation settings and system prompt"), "settings", run="[popovertarget=chat-settings]"),
    Option(_("Attach files"), "upload", run="#chat-file"),
    Option(_("Rename this conversation"), "edit", run="#rename"),
    Option(_("Move this conversation to a folder"), "folder", run="#folder"),
    Option(_("Analyze this conversation"), "usage", run="#chat-menu [hx-get$='/analysis/']"),
    Option(_("Pin or unpin this conversation"), "pin", run="#chat-menu [hx-post$='/pin/']"),
    Option(_("Archive or unarchive this conversation"), "archive", run="#chat-menu [hx-post$='/archive/']"),
    Option(_("Export as Markdown"), "download", run="#chat-menu [href$='/export.md']"),
    Option(_("Export as JSON"), "download", run="#chat-menu [href$='/export.json']"),
    Option(_("Search conversations"), "search", run="#chat-find"),
    Option(_("Keyboard shortcuts"), "key", run="#shortcuts"),
]
PLACES = [
    (_("New chat"), "plus", "chat:new"),
    (_("Batches"), "batches", "batches:index"),
    (_("Search"), "search", "search:search"),
    (_("Backends"), "backends", "backends:live"),
    (_("Usage"), "usage", "backends:usage"),
    (_("Assistants"), "user", "chat:assistants"),
    (_("Prompts"), "file", "chat:prompts"),
    (_("Import conversations"), "upload", "chat:import"),
    (_("Profile and theme"), "user", "accounts:profile"),
    (_("API tokens"), "key", "gateway:tokens"),
]


def groups(conversations: Iterable[Conversation]) -> list[Group]:
    """Return the palette for a user with these conversations."""
    places = [Option(label, icon, url=reverse(name)) for label, icon, name in PLACES]
    recent = [Option(str(one), "chat", url=reverse("chat:conversation", args=[one.id])) for one in conversations]
    return [Group(_("Places"), places), Group(_("Actions"), ACTIONS), Group(_("Conversations"), recent)]
