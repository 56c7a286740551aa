"""Well-known tool servers, to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Preset:
    """A server's address or command, and what it needs from the administrator."""

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
        Preset("github", "GitHub", "Repositories, issues and pull requests.", url="https://api.githubcopilot.com/mcp/",
               header="Authorization: Bearer TOKEN", needs="Needs a personal access token."),
        Preset("context7", "Context7", "Current documentation of libraries.", url="https://mcp.context7.com/mcp"),
        Preset("deepwiki", "DeepWiki", "Questions about public repositories.", url="https://mcp.deepwiki.com/mcp"),
        Preset("notion", "Notion", "Pages and databases.", url="https://mcp.notion.com/mcp", needs="Sign in at Notion."),
        Preset("linear", "Linear", "Issues and projects.", url="https://mcp.linear.app/mcp", needs="Sign in at Linear."),
        Preset("sentry", "Sentry", "Errors and performance.", url="https://mcp.sentry.dev/mcp", needs="Sign in at Sentry."),
        Preset("filesystem", "Files", "Files in one folder of the server's machine.",
               command=("npx", "-y", "@modelcontextprotocol/server-filesystem", "/path/to/folder"), needs="Needs Node.js."),
        Preset("playwright", "Playwright", "A browser.", command=("npx", "-y", "@playwright/mcp", "--headless"), needs="Needs Node.js."),
        Preset("git", "Git", "A repository on the server's machine.",
               command=("uvx", "mcp-server-git", "--repository", "/path/to/repo"), needs="Needs uv."),
    )
}  # fmt: skip
