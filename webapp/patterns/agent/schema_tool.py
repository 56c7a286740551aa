"""A tool that a JSON schema describes, instead of a Python signature: those of tool servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

from webapp.patterns.agent.tools import DEFAULT_TIMEOUT, Tool, ToolContext, check_name
from webapp.patterns.types import Json

Run = Callable[[Json, ToolContext], Awaitable[Any]]


class SchemaTool(Tool):
    """A tool whose arguments go as they are to `run`, which checks them.

    Args:
        schema: the JSON schema of the arguments.
        run: called with the arguments and the context. What it returns becomes the result.
        acts: each call needs approval.
        read_only: a call changes nothing. Others need approval once content from outside was read.
    """

    def __init__(
        self,
        *,
        name: str,
        description: str,
        schema: Json,
        run: Run,
        timeout: float = DEFAULT_TIMEOUT,
        acts: bool = True,
        read_only: bool = False,
    ) -> None:
        check_name(name)
        self.name = name
        self.description = description
        self.timeout = timeout
        self.acts = acts
        self.read_only = read_only
        self.untrusted = self.external = True
        self._schema = schema
        self._run = run

    @cached_property
    def parameters(self) -> Json:
        """The JSON schema of the arguments."""
        return self._schema

    def validate(self, arguments: Json) -> Json:
        """Return the arguments: `run` checks them."""
        return arguments

    async def invoke(self, keywords: Json, context: ToolContext) -> Any:
        """Run the tool."""
        return await self._run(keywords, context)
