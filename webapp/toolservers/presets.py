"""Well-known tool servers, to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from django.utils.translation import gettext_noop as _


@dataclass(frozen=True, slots=True)
class Preset:
    """A server's address or command, and what it needs from the administrator. `about` and `needs` are translated where they are shown."""

    name: str
    title: str
    about: str
    url: str = ""
    command: tuple[str, ...] = ()
    header: str = ""
    needs: str = ""


PRESETS: Final[Mapping[str, Preset]] = {
    preset.name: preset
    for preset in (
        Preset("github", "GitHub", _("Repositories, issues and pull requests."), url="https://api.githubcopilot.com/mcp/",
               header="Authorization: Bearer TOKEN", needs=_("Needs a personal access token.")),
        Preset("context7", "Context7", _("Current documentation of libraries."), url="https://mcp.context7.com/mcp"),
        Preset("deepwiki", "DeepWiki", _("Questions about public repositories."), url="https://mcp.deepwiki.com/mcp"),
        Preset("notion", "Notion", _("Pages and databases."), url="https://mcp.notion.com/mcp", needs=_("Sign in at Notion.")),
        Preset("linear", "Linear", _("Issues and projects."), url="https://mcp.linear.app/mcp", needs=_("Sign in at Linear.")),
        Preset("sentry", "Sentry", _("Errors and performance."), url="https://mcp.sentry.dev/mcp", needs=_("Sign in at Sentry.")),
        Preset("filesystem", "Files", _("Files in one folder of the server's machine."),
               command=("npx", "-y", "@modelcontextprotocol/server-filesystem", "/path/to/folder"), needs=_("Needs Node.js.")),
        Preset("playwright", "Playwright", _("A browser."),
               command=("npx", "-y", "@playwright/mcp", "--headless"), needs=_("Needs Node.js.")),
        Preset("git", "Git", _("A repository on the server's machine."),
               command=("uvx", "mcp-server-git", "--repository", "/path/to/repo"), needs=_("Needs uv.")),
    )
}  # fmt: skip
