"""Play Patchbay's client in a scenario of `@modelcontextprotocol/conformance`: `python -m tests.conformance.mcp_client URL`.

The suite starts the program once a scenario, names it in `MCP_CONFORMANCE_SCENARIO`, and gives credentials in `MCP_CONFORMANCE_CONTEXT`.
The program uses what the product uses: a tool server in the database (`PATCHBAY_HOME`), its sign-in, its connections.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from typing import Any

import django
import httpx2
from asgiref.sync import sync_to_async

PATIENCE = 25.0


async def play(url: str, scenario: str, context: dict[str, Any]) -> None:
    """List the server's tools, signing in where it asks for that, and call each."""
    from webapp.patterns.agent.interaction import Answer, Question
    from webapp.patterns.mcp.types import ToolServerError
    from webapp.toolservers import services, toolset
    from webapp.toolservers.connections import sessions

    client: dict[str, str] | None = {name: str(context[name]) for name in ("client_id", "client_secret") if name in context} or None
    server = await sync_to_async(services.add_server)(name=f"s{uuid.uuid4().hex[:8]}", url=url, oauth_client=client)

    async def defaults(question: Question) -> Answer:
        properties = question.schema.get("properties") or {}
        return Answer("accept", {name: field["default"] for name, field in properties.items() if "default" in field})

    for _ in range(4):  # a tool may ask for another sign-in, with more scopes
        try:
            session = await toolset.opened(server, "conformance")
            for tool in session.tools.values():
                arguments = {"a": 5, "b": 3} if tool.name == "add_numbers" else {}
                result = await session.connection.call(tool.name, arguments, ask=defaults)
                print(tool.name, result.text[:200])
            break
        except ToolServerError as error:
            print(error.message)
            await server.arefresh_from_db()
            if not server.sign_in_needed and "auth" not in scenario:
                raise
            await sign_in(server)
            await server.arefresh_from_db()
    await sessions.aclose()


async def sign_in(server: Any) -> None:
    """Be the person who presses *Sign in*, and whose browser the authorization server sends back at once."""
    from webapp.accounts.models import User
    from webapp.toolservers import oauth

    person, _ = await User.objects.aget_or_create(username="conformance")
    address = await oauth.begin(server, person.pk, "https://patchbay.conformance.dev/tools/callback/")
    if not address:
        return
    async with httpx2.AsyncClient() as browser:
        back = httpx2.URL((await browser.get(address)).headers["location"])
    given = {name: back.params.get(name, "") for name in ("state", "code", "error")}
    await sync_to_async(oauth.finish)(user_id=person.pk, issuer=back.params.get("iss", ""), **given)
    await asyncio.gather(*oauth.pending())


def main() -> None:
    """Run one scenario."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    django.setup()
    scenario = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    asyncio.run(asyncio.wait_for(play(sys.argv[-1], scenario, context), PATIENCE))


if __name__ == "__main__":
    main()
