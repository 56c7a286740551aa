"""`manage.py add_tool_server`: adds a tool server, or changes the one of that name."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.patterns.mcp.types import ToolServerError
from webapp.toolservers import services, toolset
from webapp.toolservers.connections import sessions
from webapp.toolservers.models import ToolServer


class Command(BaseCommand):
    """Add or change an MCP server."""

    help = (
        "Adds an MCP server whose tools the chat and /v1/responses may use, or changes the one of that name. Lists its tools where it "
        "answers; prints its id. A server that is started by a command: add_tool_server --name N -- COMMAND ARG…"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--name", required=True)
        parser.add_argument("--url", default="", help="of its streamable HTTP endpoint, e.g. https://example.com/mcp")
        parser.add_argument("--header", action="append", metavar='"Name: value"', help="sent with each request; stored encrypted")
        parser.add_argument("--env", action="append", metavar="NAME=VALUE", help="for a command; stored encrypted")
        parser.add_argument("command_line", nargs="*", metavar="COMMAND ARG", help="after --")

    def handle(self, **options: Any) -> None:
        """Run the command."""
        headers, environment = options["header"], options["env"]
        try:
            server = services.add_server(
                name=options["name"],
                url=options["url"],
                command=options["command_line"],
                headers=_pairs(headers, ":") if headers is not None else None,
                environment=_pairs(environment, "=") if environment is not None else None,
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        async_to_sync(self._list)(server)
        self.stdout.write(str(server.pk))

    async def _list(self, server: ToolServer) -> None:
        try:
            tools = await toolset.refresh(server)
            self.stderr.write(f"{len(tools)} tools found")
        except ToolServerError as error:
            self.stderr.write(f"Its tools could not be listed: {error.message}")
        finally:
            await sessions.aclose()


def _pairs(texts: list[str], separator: str) -> dict[str, str]:
    pairs = [text.partition(separator) for text in texts]
    for name, found, _value in pairs:
        if not found or not name.strip():
            raise CommandError(f"Write NAME{separator}VALUE, not {name!r}.")
    return {name.strip(): value.strip() for name, _, value in pairs}
