"""Build the command palette: actions on the current page, places, and the latest conversations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.urls import reverse

from chat.models import Conversation


@dataclass(frozen=True, slots=True)
class Option:
    """A line of the palette: a link (`url`), or an element to open, focus, or click (`run`, a CSS selector).

    The palette hides options whose element is not on the page.
    """

    label: str
    icon: str
    url: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Options under a heading."""

    name: str
    options: list[Option]


ACTIONS = [
    Option("Stop the answer", "stop", run="#chat[data-busy] .stop"),
    Option("Write to the model", "edit", run="#chat-input"),
    Option("Choose the model", "backends", run="#route-picker"),
    Option("Conversation settings and system prompt", "settings", run="[popovertarget=chat-settings]"),
    Option("Attach files", "upload", run="#chat-file"),
    Option("Rename this conversation", "edit", run="#rename"),
    Option("Move this conversation to a folder", "folder", run="#folder"),
    Option("Analyze this conversation", "usage", run="#chat-menu [hx-get$='/analysis/']"),
    Option("Pin or unpin this conversation", "pin", run="#chat-menu [hx-post$='/pin/']"),
    Option("Archive or unarchive this conversation", "archive", run="#chat-menu [hx-post$='/archive/']"),
    Option("Export as Markdown", "download", run="#chat-menu [href$='/export.md']"),
    Option("Export as JSON", "download", run="#chat-menu [href$='/export.json']"),
    Option("Search conversations", "search", run="#chat-find"),
    Option("Keyboard shortcuts", "key", run="#shortcuts"),
]
PLACES = [
    ("New chat", "plus", "chat:new"),
    ("Batches", "batches", "batches:index"),
    ("Search", "search", "search:search"),
    ("Backends", "backends", "backends:live"),
    ("Usage", "usage", "backends:usage"),
    ("Prompts", "file", "chat:prompts"),
    ("Import conversations", "upload", "chat:import"),
    ("Profile and theme", "user", "accounts:profile"),
    ("API tokens", "key", "gateway:tokens"),
]


def groups(conversations: Iterable[Conversation]) -> list[Group]:
    """Return the palette for a user with these conversations."""
    places = [Option(label, icon, url=reverse(name)) for label, icon, name in PLACES]
    recent = [Option(str(one), "chat", url=reverse("chat:conversation", args=[one.id])) for one in conversations]
    return [Group("Places", places), Group("Actions", ACTIONS), Group("Conversations", recent)]
