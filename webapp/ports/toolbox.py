"""Hold the tools that the product offers to models.

Each app adds its own in `AppConfig.ready()`. Tools that depend on the user, like those of tool servers, come from providers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from webapp.accounts.models import User
from webapp.patterns.agent import builtin_tools
from webapp.patterns.agent.tools import Tool, ToolRegistry

toolbox = ToolRegistry([builtin_tools.calculator(), builtin_tools.current_time(), Tool(builtin_tools.get_gpu_metrics)])


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool that a user may have in a conversation.

    Attributes:
        group: who provides it; empty for the product itself.
        on_by_default: whether a new conversation has it.
        note: a warning for the user.
    """

    tool: Tool
    group: str = ""
    on_by_default: bool = True
    note: str = ""


Provider = Callable[[User, str], Sequence[Offer]]
"""(user, route or model) -> the tools on offer. Synchronous; uses the ORM."""
_providers: list[Provider] = []


def register_provider(provider: Provider) -> None:
    """Have `provider` asked for tools each time."""
    if provider not in _providers:
        _providers.append(provider)


def offers(user: User, route: str) -> list[Offer]:
    """Return all tools that a user may have with a route or model."""
    found = [Offer(tool) for tool in toolbox]
    for provider in _providers:
        found += provider(user, route)
    return found


def chosen(user: User, route: str, names: Iterable[str] | None) -> ToolRegistry:
    """Return the tools of a conversation that chose `names`; those that are on by default where it chose none yet.

    Names of tools that are gone are passed over: a removed tool server must not end a conversation.
    """
    if names is None:
        return ToolRegistry(offer.tool for offer in offers(user, route) if offer.on_by_default)
    wanted = set(names)
    return ToolRegistry(offer.tool for offer in offers(user, route) if offer.tool.name in wanted)
